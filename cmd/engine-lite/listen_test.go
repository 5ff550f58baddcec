package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestSocketOfAGroup checks who may use the API's socket.
func TestSocketOfAGroup(t *testing.T) {
	for group, want := range map[string]struct {
		mode os.FileMode
		gid  uint32
	}{"": {0o600, 0}, "daemon": {0o660, 1}} { // Debian's
		c := config{socket: filepath.Join(t.TempDir(), "s"), group: group}
		l, err := c.listen(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(c.socket)
		if err != nil {
			t.Fatal(err)
		}
		if gid := info.Sys().(*syscall.Stat_t).Gid; info.Mode().Perm() != want.mode || gid != want.gid {
			t.Errorf("group %q: the socket has %v and group %d", group, info.Mode().Perm(), gid)
		}
		l.Close()
	}
	c := config{socket: filepath.Join(t.TempDir(), "s"), group: "nobody-has-this"}
	if _, err := c.listen(t.Context()); err == nil {
		t.Error("a group that does not exist was taken")
	}
	if _, err := os.Stat(c.socket); !os.IsNotExist(err) {
		t.Errorf("a socket is left: %v", err)
	}
}
