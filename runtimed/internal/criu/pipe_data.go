package criu

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/encoding/protowire"
)

// fifoDataImage is CRIU's image of what was in FIFOs.
//
//	magic uint32, magic uint32, { size uint32, PipeDataEntry of that size, data }...
//	PipeDataEntry: 1: pipe_id, the inode's number cut to 32 bits; 2: bytes of data
//
// (criu.org/Images, images/pipe-data.proto; all numbers in the host's byte order.)
const fifoDataImage = "fifo-data.img"

// longestEntry bounds a PipeDataEntry, which has a few numbers.
const longestEntry = 4 << 10

// DropPipeData takes what was in some FIFOs out of a checkpoint. An output's bytes have been handed over when they
// are in the FIFO: whoever reads it gets them there, and should not get them again from the restored process.
func DropPipeData(images string, drop func(id uint32) bool) error {
	path := filepath.Join(images, fifoDataImage)
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // there was no FIFO
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(copyPipeData(bufio.NewReader(in), out, drop), out.Close())
	if err != nil {
		return errors.Join(fmt.Errorf("cannot take the output that was read already out of %s: %w",
			path, err), os.Remove(path+".new"))
	}
	return os.Rename(path+".new", path)
}

// copyPipeData copies an image of pipes' data without the entries to drop. DataLoss for what is no such image.
func copyPipeData(in io.Reader, out io.Writer, drop func(id uint32) bool) error {
	if _, err := io.CopyN(out, in, 8); err != nil { // the magic numbers
		return damaged(err)
	}
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return damaged(err)
		}
		size := binary.NativeEndian.Uint32(head[:])
		if size > longestEntry {
			return damaged(fmt.Errorf("an entry of %d bytes", size))
		}
		entry := make([]byte, size)
		if _, err := io.ReadFull(in, entry); err != nil {
			return damaged(err)
		}
		id, length, err := parsePipeDataEntry(entry)
		if err != nil {
			return err
		}
		to := out
		if drop(id) {
			to = io.Discard
		}
		if _, err := io.Copy(to, io.MultiReader(bytes.NewReader(head[:]), bytes.NewReader(entry))); err != nil {
			return err
		}
		if _, err := io.CopyN(to, in, int64(length)); err != nil {
			return damaged(err)
		}
	}
}

// parsePipeDataEntry reads the two fields that matter.
func parsePipeDataEntry(entry []byte) (id, length uint32, err error) {
	for len(entry) > 0 {
		number, kind, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return 0, 0, damaged(protowire.ParseError(n))
		}
		entry = entry[n:]
		if kind == protowire.VarintType && (number == 1 || number == 2) {
			value, n := protowire.ConsumeVarint(entry)
			if n < 0 || value > 1<<32-1 {
				return 0, 0, damaged(fmt.Errorf("field %d", number))
			}
			if number == 1 {
				id = uint32(value)
			} else {
				length = uint32(value)
			}
		}
		n = protowire.ConsumeFieldValue(number, kind, entry)
		if n < 0 {
			return 0, 0, damaged(protowire.ParseError(n))
		}
		entry = entry[n:]
	}
	return id, length, nil
}

func damaged(err error) error {
	return fmt.Errorf("a damaged image of pipes' data: %v: %w", err, errdefs.ErrDataLoss)
}
