package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// megabytes per second, of 10^6 bytes.
func rate(bytes int, d time.Duration) float64 { return float64(bytes) / 1e6 / d.Seconds() }

// zerosArgs is a program that writes so many bytes as fast as they are read: whole MiB.
func zerosArgs(size int) []string {
	return []string{"dd", "if=/dev/zero", "bs=1M", "count=" + strconv.Itoa(size>>20)}
}

// linesArgs is a program that writes so many bytes of text.
func linesArgs(size int) []string {
	return append([]string{"cat"}, strings.Fields(strings.Repeat(textPath+" ", size/textSize))...)
}

// drainArgs is a program that writes "ready", and then reads and discards its stdin.
var drainArgs = []string{"sh", "-c", "echo ready; exec cat >/dev/null"}

// bufferSize is how much a reader reads at once.
const bufferSize = 1 << 20

// count reads to the end.
func count(r io.Reader) (int, error) {
	n, _, err := timed(r)
	return n, err
}

// timed reads to the end, and returns when the first byte came.
func timed(r io.Reader) (n int, first time.Time, err error) {
	p := make([]byte, bufferSize)
	for {
		m, err := r.Read(p)
		if n == 0 && m > 0 {
			first = time.Now()
		}
		n += m
		if errors.Is(err, io.EOF) {
			return n, first, nil
		}
		if err != nil {
			return n, first, err
		}
	}
}

// readAll reads so many bytes, calls finish, and returns the rate since the first byte.
func readAll(r io.Reader, size int, finish func() error) (float64, error) {
	n, first, err := timed(r)
	if err == nil {
		err = finish()
	}
	if err == nil && n != size { // finish has not failed
		err = fmt.Errorf("the reader got %d bytes of %d", n, size)
	}
	return rate(size, time.Since(first)), err
}

func stdoutDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	v, err := d.output(ctx, container{args: zerosArgs(z.stdout)}, z.stdout)
	return figures{"stdout": v}, err
}

func logsDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	v, err := d.output(ctx, container{args: linesArgs(z.logs), logged: true}, z.logs)
	return figures{"logs": v}, err
}

// output runs a container, reads its output, and waits for its end. By then the engine has
// written the log.
func (d *daemon) output(ctx context.Context, k container, size int) (v float64, err error) {
	id, err := d.create(ctx, k)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.remove(ctx, id)) }()
	s, err := d.hijack(ctx, "/containers/"+id+"/attach?stream=1&stdout=1", "")
	if err != nil {
		return 0, err
	}
	defer s.close()
	if err := d.start(ctx, id); err != nil {
		return 0, err
	}
	return readAll(s, size, func() error {
		code, err := d.wait(ctx, id)
		if err == nil && code != 0 {
			err = fmt.Errorf("the writer ended with %d", code)
		}
		return err
	})
}

func stdoutBare(ctx context.Context, b *bare, z sizes) (figures, error) {
	v, err := b.output(ctx, zerosArgs(z.stdout), z.stdout)
	return figures{"stdout": v}, err
}

func logsBare(ctx context.Context, b *bare, z sizes) (figures, error) {
	v, err := b.output(ctx, linesArgs(z.logs), z.logs)
	return figures{"logs": v}, err
}

func (b *bare) output(ctx context.Context, args []string, size int) (v float64, err error) {
	c, err := b.container(args)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	read, write, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer read.Close()
	done := make(chan error, 1)
	go func() { // ends with the container
		err := b.call(ctx, nil, write, "run", "--bundle", c.dir, c.id)
		write.Close()
		done <- err
	}()
	v, err = readAll(read, size, func() error { return nil })
	read.Close() // after an error, the container must not wait for a reader
	return v, errors.Join(err, <-done)
}

// feed waits until the reader has written "ready", writes so many bytes, and waits for the
// reader's end.
func feed(out io.Reader, in io.Writer, closeWrite func() error, size int) (float64, error) {
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, ready); err != nil || string(ready) != "ready\n" {
		return 0, fmt.Errorf("the container said %q, %w", ready, err)
	}
	p := make([]byte, bufferSize)
	begin := time.Now()
	for left := size; left > 0; left -= len(p) {
		if _, err := in.Write(p[:min(len(p), left)]); err != nil {
			return 0, err
		}
	}
	if err := closeWrite(); err != nil {
		return 0, err
	}
	n, err := count(out)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d bytes more than the container should write", n)
	}
	return rate(size, time.Since(begin)), err
}

func stdinDaemon(ctx context.Context, d *daemon, z sizes) (figures, error) {
	return d.attached(ctx, drainArgs, func(s *stream) (figures, error) {
		v, err := feed(s, s, s.CloseWrite, z.stdin)
		return figures{"stdin": v}, err
	})
}

// attached runs a container with a client at its stdin and stdout, and removes it.
func (d *daemon) attached(ctx context.Context, args []string, use func(*stream) (figures, error)) (f figures,
	err error) {
	id, err := d.create(ctx, container{args: args, stdin: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.remove(ctx, id)) }()
	s, err := d.hijack(ctx, "/containers/"+id+"/attach?stream=1&stdin=1&stdout=1", "")
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := d.start(ctx, id); err != nil {
		return nil, err
	}
	return use(s)
}

func stdinBare(ctx context.Context, b *bare, z sizes) (f figures, err error) {
	c, err := b.container(drainArgs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, stdout, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return nil, err
	}
	defer out.Close()
	done := make(chan error, 1)
	go func() { // ends with the container
		err := b.call(ctx, stdin, stdout, "run", "--bundle", c.dir, c.id)
		stdin.Close()
		stdout.Close()
		done <- err
	}()
	v, err := feed(out, in, in.Close, z.stdin)
	in.Close()
	return figures{"stdin": v}, errors.Join(err, <-done)
}
