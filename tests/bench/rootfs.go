package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// rootfs is the root filesystem of all containers: this machine's busybox and a file of
// text. Engines import it as an image. Bare runtimes use it below an overlay.
type rootfs struct {
	dir string
	tar func() ([]byte, error) // packed once
}

const (
	textPath = "/text"
	textSize = 16 << 20
)

func newRootfs(dir string) (*rootfs, error) {
	for _, name := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return nil, err
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox-static is needed: %w", err)
	}
	err = firstError(
		os.WriteFile(filepath.Join(dir, "bin/busybox"), busybox, 0o755),
		os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\n"), 0o644),
		os.WriteFile(filepath.Join(dir, textPath), text(textSize), 0o644),
	)
	for _, applet := range []string{"cat", "dd", "sh", "sleep", "true", "yes"} {
		err = firstError(err, os.Symlink("busybox", filepath.Join(dir, "bin", applet)))
	}
	return &rootfs{dir, sync.OnceValues(func() ([]byte, error) { return pack(dir) })}, err
}

// text is lines such as programs log, of 20 to 120 bytes each.
func text(size int) []byte {
	line := []byte("2026-01-02T15:04:05.000Z INFO request handled path=/index.html status=200 duration=17ms bytes=5120 id=0123456789abcdef\n")
	var b []byte
	for i := 0; len(b) < size; i++ {
		b = append(b, line[i%100:]...)
	}
	b = b[:size]
	b[size-1] = '\n'
	return b
}

func pack(dir string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
}
