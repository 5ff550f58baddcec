package images

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"io"

	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// The first bytes of formats that archives may have, but layers can't.
var (
	bzip2Magic = []byte("BZh")
	xzMagic    = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
)

// sniffLength is enough for every format's magic number, zstd's skippable
// frames included.
const sniffLength = 16

// sniff looks at the start of a stream. It returns the media type of a layer with the
// same compression; empty for bzip2, since no layer has that.
func sniff(r *bufio.Reader) (mediaType string, err error) {
	head, err := r.Peek(sniffLength)
	if err != nil && err != io.EOF {
		return "", err
	}
	switch {
	case len(head) == 0:
		return "", classed.Errorf(errdefs.ErrInvalidArgument, "nothing to read")
	case bytes.HasPrefix(head, bzip2Magic):
		return "", nil
	case bytes.HasPrefix(head, xzMagic):
		return "", classed.Errorf(errdefs.ErrNotImplemented, "xz compression")
	}
	switch compression.DetectCompression(head) {
	case compression.Gzip:
		return ocispec.MediaTypeImageLayerGzip, nil
	case compression.Zstd:
		return ocispec.MediaTypeImageLayerZstd, nil
	default:
		return ocispec.MediaTypeImageLayer, nil
	}
}

// expand decompresses a stream of a media type that sniff returned. It does so in this
// process: containerd's library starts the program unpigz for gzip, where it is
// installed, and knows no bzip2.
func expand(mediaType string, r io.Reader) (io.ReadCloser, error) {
	switch mediaType {
	case "":
		return io.NopCloser(bzip2.NewReader(r)), nil
	case ocispec.MediaTypeImageLayerGzip:
		return gzip.NewReader(r)
	case ocispec.MediaTypeImageLayerZstd:
		return compression.DecompressStream(r)
	default:
		return io.NopCloser(r), nil
	}
}

// Decompress expands a stream if it is compressed in a known way. An empty stream is an error. The caller closes the
// result, which does not close the stream.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	buffered := bufio.NewReader(r)
	mediaType, err := sniff(buffered)
	if err != nil {
		return nil, err
	}
	return expand(mediaType, buffered)
}
