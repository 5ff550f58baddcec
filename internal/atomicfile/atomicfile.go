// Package atomicfile replaces files as a whole: a reader sees the old file or the new one, and so does whoever comes
// after a kill in between.
//
// The new content goes to a file beside the old one, whose name has the suffix ".new", and takes the old one's name.
// A kill leaves at most that one file, and the next write replaces it. So a path has one writer at a time.
//
// Create and Write sync nothing: most of our files are in /run and mean nothing after a crash of the machine.
// WriteSynced is for files that do. (github.com/moby/sys/atomicwriter always syncs the file and never its
// directory, and leaves a file with a random name after each kill.)
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// Suffix is the end of the name of a file that is not whole yet.
const Suffix = ".new"

// Create replaces the file at path by one with that content, and returns it open for reading and writing. The caller
// closes it. The mode is subject to the umask. With an error the old file stays.
func Create(path string, data []byte, mode os.FileMode) (*os.File, error) {
	return replace(path, data, mode, false)
}

// Write is Create for callers that do not need the file open.
func Write(path string, data []byte, mode os.FileMode) error {
	file, err := replace(path, data, mode, false)
	if err != nil {
		return err
	}
	return file.Close()
}

// WriteSynced is Write, and returns when the disk has the new file and its name (fsync(2)). With an error it is unknown
// which of the two files is there after a crash of the machine.
func WriteSynced(path string, data []byte, mode os.FileMode) error {
	file, err := replace(path, data, mode, true)
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return errors.Join(err, file.Close())
	}
	return errors.Join(dir.Sync(), dir.Close(), file.Close())
}

func replace(path string, data []byte, mode os.FileMode, synced bool) (*os.File, error) {
	draft := path + Suffix
	// O_NOFOLLOW: whoever may write to the directory could lead us elsewhere by a symbolic link.
	file, err := os.OpenFile(draft, os.O_RDWR|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(data)
	if err == nil && synced {
		err = file.Sync()
	}
	if err == nil {
		err = os.Rename(draft, path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(draft))
	}
	return file, nil
}
