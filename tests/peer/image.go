package peer

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// busybox returns the archive of a root filesystem with this machine's busybox, all of its
// commands, and the accounts that tests use.
func busybox() ([]byte, error) {
	const program = "/bin/busybox"
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("busybox-static is needed: %w", err)
	}
	list, err := exec.Command(program, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("busybox --list: %w", err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var errs []error
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			errs = append(errs, err)
			return
		}
		if _, err := w.Write(content); err != nil {
			errs = append(errs, err)
		}
	}
	for _, name := range []string{"bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "usr/sbin", "var", "var/www"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, binary)
	for _, command := range strings.Fields(string(list)) {
		if command != "busybox" {
			add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + command, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	accounts := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n" +
			"bin:x:2:2:bin:/bin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
		"etc/group":  "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwww-data:x:33:\nstaff:x:50:\nwheel:x:10:\naudio:x:29:\nnobody:x:65534:\n",
		"etc/shadow": "root:*:::::::\n",
	}
	for name, text := range accounts {
		add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, []byte(text))
	}
	if err := w.Close(); err != nil || len(errs) > 0 {
		return nil, fmt.Errorf("cannot pack the image: %v %v", errs, err)
	}
	return b.Bytes(), nil
}
