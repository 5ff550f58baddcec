package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/flock"
)

// locks are the directories that are this engine's alone, for as long as the
// files are open.
type locks []*os.File

// lockDirs makes the directories and takes each with flock(2). A second engine
// on one of them is refused.
func lockDirs(dirs ...string) (locks, error) {
	var l locks
	for _, dir := range dirs {
		f, err := lockDir(dir)
		if err != nil {
			l.release()
			return nil, err
		}
		l = append(l, f)
	}
	return l, nil
}

func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, err
	}
	f, err := flock.Open(filepath.Join(dir, "engine.lock"), flock.Patience)
	if errors.Is(err, flock.ErrTaken) {
		return nil, fmt.Errorf("another engine-lite uses %s: %w", dir, errdefs.ErrFailedPrecondition)
	}
	return f, err
}

func (l locks) release() {
	for _, f := range l {
		_ = f.Close()
	}
}
