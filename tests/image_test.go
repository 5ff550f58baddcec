package tests

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"
)

// importBusybox makes the image "busybox" from the machine's own static binary.
func (r *rig) importBusybox() error {
	rootfs, err := busyboxTar()
	if err != nil {
		return err
	}
	query := url.Values{
		"fromSrc": {"-"}, "repo": {"busybox"}, "tag": {"latest"},
		"changes": {"ENV PATH=/bin", `CMD ["sh"]`},
	}
	response, err := r.client.Post("http://engine/images/create?"+query.Encode(), "application/x-tar",
		bytes.NewReader(rootfs))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || bytes.Contains(text, []byte("errorDetail")) {
		return fmt.Errorf("import: %s %s %w", response.Status, text, err)
	}
	return nil
}

// busyboxTar is a root filesystem with busybox, its applets, and the users root
// and app.
func busyboxTar() ([]byte, error) {
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("these tests need busybox-static: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	applets, err := exec.CommandContext(ctx, "/bin/busybox", "--list").Output()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		if e := w.WriteHeader(&h); err == nil {
			err = e
		}
		if _, e := w.Write(content); err == nil {
			err = e
		}
	}
	for _, dir := range []string{"bin/", "dev/", "etc/", "home/", "proc/", "root/", "sys/", "tmp/"} {
		mode := map[string]int64{"tmp/": 0o1777}[dir]
		add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: max(mode, 0o755)}, nil)
	}
	add(tar.Header{Name: "bin/busybox", Mode: 0o755}, binary)
	for applet := range strings.FieldsSeq(string(applets)) {
		if applet != "busybox" {
			add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777}, nil)
		}
	}
	add(tar.Header{Name: "etc/passwd", Mode: 0o644},
		[]byte("root:x:0:0:root:/root:/bin/sh\napp:x:1234:1235:app:/home:/bin/sh\n"))
	add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\napp:x:1235:\nextra:x:4321:app\n"))
	add(tar.Header{Name: "etc/not-executable", Mode: 0o644}, []byte("#!/bin/sh\n"))
	if err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}
