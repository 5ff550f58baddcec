package engine

import "golang.org/x/sys/unix"

func mountTmpfs(dir string, flags uintptr) error {
	return unix.Mount("tmpfs", dir, "tmpfs", flags, "size=64k")
}

func unmount(dir string) error { return unix.Unmount(dir, 0) }
