package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/engine-lite/engine-lite/keeper"
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
	f, err := os.OpenFile(filepath.Join(dir, "engine.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := keeper.Lock(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another engine-lite uses %s: %w", dir, err)
	}
	return f, nil
}

func (l locks) release() {
	for _, f := range l {
		_ = f.Close()
	}
}
