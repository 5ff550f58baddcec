package fifo

import (
	"errors"
	"io"
	"sync"
	"testing"
)

const benchmarkSize = 64 << 20 // bytes per iteration

// benchmarkOutput has a process write to stdout while consume reads until io.EOF.
func benchmarkOutput(b *testing.B, consume func(*Reader) error) {
	b.SetBytes(benchmarkSize)
	for b.Loop() {
		b.StopTimer()
		set := newSet(b)
		reader := openStdout(b, set)
		b.StartTimer()
		cmd := start(b, openContainer(b, Paths{Stdout: set.Paths().Stdout}),
			"dd", "if=/dev/zero", "bs=1048576", "count=64")
		var wg sync.WaitGroup
		wg.Go(func() {
			cmd.Wait()
			reader.ExitKnown()
		})
		if err := consume(reader); !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		wg.Wait()
		reader.Close()
	}
}

func BenchmarkReadAndWriteFile(b *testing.B) {
	file, buf := tempFile(b), make([]byte, 256<<10)
	benchmarkOutput(b, func(reader *Reader) error {
		for offset := int64(0); ; {
			n, err := reader.Read(buf)
			if err != nil {
				return err
			}
			if _, err := file.WriteAt(buf[:n], offset%(16<<20)); err != nil {
				return err
			}
			offset += int64(n)
		}
	})
}

func BenchmarkSpliceToFile(b *testing.B) {
	file := tempFile(b)
	benchmarkOutput(b, func(reader *Reader) error {
		for offset := int64(0); ; {
			n, err := reader.Splice(file, offset%(16<<20), 1<<20)
			if err != nil {
				return err
			}
			offset += n
		}
	})
}

func BenchmarkCreateOpenRemove(b *testing.B) {
	dir := b.TempDir() + "/io"
	for b.Loop() {
		set, err := Create(dir, Config{Stdin: true, Stdout: true, Stderr: true})
		if err != nil {
			b.Fatal(err)
		}
		reader, err := set.OpenStdout(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		reader.Close()
		if err := set.Remove(); err != nil {
			b.Fatal(err)
		}
	}
}
