package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// mountPairs is how many starts with and without mounts are compared in one measurement.
const mountPairs = 5

// mountsDaemon compares starts of containers that have five binds and two volumes with starts of containers that have
// none, one after the other.
func mountsDaemon(ctx context.Context, d *daemon, _ sizes) (figures, error) {
	var binds []string
	for n := range 5 {
		binds = append(binds, fmt.Sprintf("/usr:/bind%d:ro", n))
	}
	binds = append(binds, "bench-one:/volume1", "bench-two:/volume2")
	var all []float64
	for range mountPairs {
		var took [2]float64
		for n, list := range [][]string{nil, binds} {
			id, err := d.createFrom(ctx, image, map[string]any{"Binds": list}, sleepArgs)
			if err != nil {
				return nil, err
			}
			elapsed := stopwatch()
			err = d.start(ctx, id)
			took[n] = elapsed()
			if err = errors.Join(err, d.remove(ctx, id)); err != nil {
				return nil, err
			}
		}
		all = append(all, took[1]-took[0])
	}
	return figures{"mounts": median(all)}, nil
}

// createFrom makes a container of an image, without a network.
func (c *client) createFrom(ctx context.Context, image string, host map[string]any, args []string) (string, error) {
	host["NetworkMode"] = "none"
	var made struct{ ID string }
	err := c.post(ctx, "/containers/create", map[string]any{"Image": image, "Cmd": args, "HostConfig": host}, &made)
	return made.ID, err
}

// bigDaemon and smallDaemon move one big file, and many small ones.
func bigDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	return d.files(ctx, "big", 1, z.file, float64(z.file)/1e6)
}

func smallDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	return d.files(ctx, "small", z.files, 1<<10, float64(z.files))
}

// copiedImage is made of a container with files.
const copiedImage = "bench-files"

// files copies files into a container and out, makes an image of the container, and has the image's files copied into a
// new volume. amount is what the figures per second count.
func (d *daemon) files(ctx context.Context, kind string, n, size int, amount float64) (f figures, err error) {
	f = figures{}
	id, err := d.createFrom(ctx, image, map[string]any{}, trueArgs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.removeWithVolumes(ctx, id)) }()
	peak, err := watchPeak(d.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	timed := func(row string, do func() error) error {
		unix.Sync() // what was written before is not a part of this
		begin := time.Now()
		err := do()
		f[row+"-"+kind] = amount / time.Since(begin).Seconds()
		return err
	}
	if err := timed("cp-in", func() error { return d.putTree(ctx, id, n, size) }); err != nil {
		return nil, err
	}
	if err := timed("cp-out", func() error {
		return d.do(ctx, http.MethodGet, "/containers/"+id+"/archive?path=/data", nil, nil)
	}); err != nil {
		return nil, err
	}
	if err := timed("commit", func() error {
		return d.post(ctx, "/commit?container="+id+"&repo="+copiedImage, map[string]any{}, nil)
	}); err != nil {
		return nil, err
	}
	var filled string
	err = timed("copy-up", func() (err error) {
		filled, err = d.createFrom(ctx, copiedImage, map[string]any{"Binds": []string{copiedImage + ":/data"}}, trueArgs)
		return err
	})
	if err == nil {
		err = d.removeWithVolumes(ctx, filled)
	}
	if err == nil {
		err = d.do(ctx, http.MethodDelete, "/volumes/"+copiedImage, nil, nil)
	}
	if err == nil {
		err = d.do(ctx, http.MethodDelete, "/images/"+copiedImage, nil, nil)
	}
	if err == nil && kind == "big" {
		f["cp-memory"], err = peak()
	}
	return f, err
}

func (c *client) removeWithVolumes(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/containers/"+id+"?force=1&v=1", nil, nil)
}

// diffDaemon lists the changes of a container with many new files.
func diffDaemon(ctx context.Context, d *daemon, z sizes) (f figures, err error) {
	id, err := d.createFrom(ctx, image, map[string]any{}, trueArgs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.removeWithVolumes(ctx, id)) }()
	if err := d.putTree(ctx, id, z.changes, 0); err != nil {
		return nil, err
	}
	unix.Sync()
	elapsed := stopwatch()
	answer, err := d.ask(ctx, http.MethodGet, "/containers/"+id+"/changes", nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	f = figures{"diff": elapsed()}
	if got := bytes.Count(body, []byte(`"Path"`)); err == nil && got < z.changes {
		err = fmt.Errorf("diff lists %d changes of %d", got, z.changes)
	}
	return f, err
}

// perDirectory is how many files of a tree are in one directory.
const perDirectory = 200

// putTree copies files into /data of a container.
func (c *client) putTree(ctx context.Context, id string, n, size int) error {
	r, w := io.Pipe()
	go func() { w.CloseWithError(writeTree(w, n, size)) }() // ends with the request, which closes r
	defer r.Close()
	return c.do(ctx, http.MethodPut, "/containers/"+id+"/archive?path=/", r, nil)
}

// writeTree writes a tar of files with content that does not shrink when it is compressed.
func writeTree(out io.Writer, n, size int) error {
	buffered := bufio.NewWriterSize(out, 1<<20)
	w := tar.NewWriter(buffered)
	content := make([]byte, min(size, 1<<20))
	_, _ = rand.Read(content) // never fails, see crypto/rand
	dir := func(name string) error {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755})
	}
	err := dir("data/")
	for i := range n {
		at := fmt.Sprintf("data/%d/", i/perDirectory)
		if i%perDirectory == 0 {
			err = errors.Join(err, dir(at))
		}
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: at + strconv.Itoa(i), Mode: 0o644, Size: int64(size)}))
		for left := size; left > 0 && err == nil; left -= len(content) {
			_, err = w.Write(content[:min(left, len(content))])
		}
		if err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), buffered.Flush())
}

// watchPeak returns a function that says by how much the memory of a process was larger than now, at its largest, in MB:
// see clear_refs and VmHWM in proc(5).
func watchPeak(pid int) (func() (float64, error), error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	if err := os.WriteFile(dir+"clear_refs", []byte("5"), 0o200); err != nil {
		return nil, err
	}
	before, err := highest(dir + "status")
	return func() (float64, error) {
		after, err := highest(dir + "status")
		return after - before, err
	}, err
}

func highest(path string) (float64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(data), "VmHWM:")
	words := strings.Fields(rest)
	if !found || len(words) < 2 {
		return 0, fmt.Errorf("%s has no VmHWM", path)
	}
	kib, err := strconv.ParseFloat(words[0], 64)
	return kib / 1e3, err
}
