package journal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// create makes an empty journal at path, unless another process does so at the same time. The name appears when the
// file is complete: a process that is killed leaves no incomplete journal there.
func create(path string, opts Options) (err error) {
	draft, err := os.CreateTemp(filepath.Dir(path), draftPrefix(path)+"*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, removeIfThere(draft.Name())) }()
	if err := draft.Close(); err != nil {
		return err
	}
	if err := initialise(draft.Name(), opts); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !exists(path) {
		return err
	}
	if opts.NoSync {
		return nil
	}
	return syncDirectory(filepath.Dir(path))
}

// initialise turns an empty file into an empty journal.
func initialise(path string, opts Options) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{NoSync: opts.NoSync, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return err
	}
	return errors.Join(db.Update(func(tx *bolt.Tx) error { return writeHeader(tx, opts.Format) }), db.Close())
}

func writeHeader(tx *bolt.Tx, format uint32) error {
	for _, name := range []string{recordsBucket, eventsBucket} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	header, err := tx.CreateBucket([]byte(journalBucket))
	if err != nil {
		return err
	}
	if err := header.Put([]byte(formatKey), binary.BigEndian.AppendUint32(nil, format)); err != nil {
		return err
	}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand
	return header.Put([]byte(idKey), hex.AppendEncode(nil, id[:]))
}

// draftPrefix returns the beginning of the names of files that are to become the journal at path.
func draftPrefix(path string) string { return "." + filepath.Base(path) + ".new-" }

// sweep removes drafts that were never finished. The journal must exist and be locked: a process that loses its draft
// then opens the journal.
func sweep(path string) error {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), draftPrefix(path)) {
			continue
		}
		if err := removeIfThere(filepath.Join(filepath.Dir(path), entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func syncDirectory(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
