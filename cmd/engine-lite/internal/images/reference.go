package images

import (
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/engine-lite/engine-lite/internal/classed"
)

// untaggedPrefix begins the record names of images without a name. No reference has a
// "<", so that the two can't be confused.
const untaggedPrefix = "<untagged>@"

var hexPrefix = regexp.MustCompile(`^(?:sha256:)?([0-9a-f]{1,64})$`)

// parseName reads a reference as Docker does: "busybox" is
// docker.io/library/busybox:latest, and a tag is dropped where there is a digest. The
// error is InvalidArgument.
func parseName(ref string) (reference.Named, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	return named, nil
}

// parseTag reads a reference that may have a tag but no digest.
func parseTag(ref string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "%v", err)
	}
	if reference.FamiliarName(named) == "sha256" { // "sha256:…" would be a digest to each reader
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "refusing to create an ambiguous tag using digest algorithm as name")
	}
	if _, ok := named.(reference.Digested); ok {
		return nil, classed.Errorf(errdefs.ErrInvalidArgument, "refusing to create a tag with a digest reference")
	}
	return reference.TagNameOnly(named), nil
}

// Familiar returns a reference as users know it, with its tag or digest, and its
// name alone. Both are ref where it is no reference.
func Familiar(ref string) (full, name string) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref, ref
	}
	return reference.FamiliarString(reference.TagNameOnly(named)), reference.FamiliarName(named)
}

// parseRecordName reads the name of an image record; nil if it is untagged.
func parseRecordName(name string) (reference.Named, error) {
	if strings.HasPrefix(name, untaggedPrefix) {
		return nil, nil
	}
	return parseName(name)
}

// idPrefix returns the hex digits if ref may be an image id or the start of
// one, with or without its algorithm.
func idPrefix(ref string) (string, bool) {
	m := hexPrefix.FindStringSubmatch(ref)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// fullDigest returns the digest if ref is a whole one, or 64 hex digits.
func fullDigest(ref string) (digest.Digest, bool) {
	if hex, ok := idPrefix(ref); ok && len(hex) == digest.SHA256.Size()*2 {
		return digest.NewDigestFromEncoded(digest.SHA256, hex), true
	}
	return "", false
}
