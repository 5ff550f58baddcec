package logs

import (
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/engine-lite/engine-lite/internal/atomicfile"
)

// compressLocked starts to compress the rotated files, if that is wanted. The goroutine ends when all of them are
// compressed, and at Close. The next rotation waits for it, so no file changes its name meanwhile.
func (o *Output) compressLocked() {
	if !o.config.Log.Compress || o.closed || o.compressing != nil {
		return
	}
	done := make(chan struct{})
	o.compressing = done
	o.wg.Go(func() {
		if err := o.config.Log.compressRotated(o.ctx); err != nil && o.ctx.Err() == nil {
			o.entry(err).Warn("cannot compress a rotated log; it stays as it is until the next rotation")
		}
		o.mu.Lock()
		o.compressing = nil
		o.mu.Unlock()
		close(done)
	})
}

// awaitCompressed waits until no rotated file is being compressed; Close ends the wait.
func (o *Output) awaitCompressed() error {
	o.mu.Lock()
	done := o.compressing
	o.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-o.ctx.Done():
		return errClosed
	}
}

// compressRotated compresses the rotated files that aren't, the newest first. An earlier engine may have left some.
func (l Log) compressRotated(ctx context.Context) error {
	for i, missing := 1, 0; missing < 2; i++ {
		name := rotated(l.Path, i)
		if len(forms(name)) == 0 {
			missing++
			continue
		}
		missing = 0
		if err := compress(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// compress replaces a file by its compressed form, which is on the disk before the file goes. So a reader that finds no
// file finds the compressed one. Fails with ErrNotExist if there is no such file.
func compress(ctx context.Context, name string) error {
	from, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	draft := compressed(name) + atomicfile.Suffix
	err = writeCompressed(ctx, draft, from)
	if err == nil {
		err = os.Chtimes(draft, info.ModTime(), info.ModTime()) // readers look at it
	}
	if err == nil {
		err = os.Rename(draft, compressed(name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(draft))
	}
	return os.Remove(name)
}

func writeCompressed(ctx context.Context, draft string, from io.Reader) error {
	to, err := os.OpenFile(draft, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(to, 64<<10)             // gzip writes 240 bytes at a time
	z, err := gzip.NewWriterLevel(buffered, gzip.BestSpeed) // the process may have to wait for it
	if err == nil {
		_, err = io.Copy(z, contextReader{ctx, from})
	}
	if err == nil {
		err = z.Close()
	}
	if err == nil {
		err = errors.Join(buffered.Flush(), to.Sync())
	}
	return errors.Join(err, to.Close())
}

// contextReader fails when the context ends.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
