package logs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	log "github.com/sirupsen/logrus"
)

// quiet hides the warnings about damaged logs from the fuzzer's output.
func quiet(f *testing.F) {
	was := log.StandardLogger().Out
	log.SetOutput(io.Discard)
	f.Cleanup(func() { log.SetOutput(was) })
}

// FuzzTail reads a log with any content. The last entries must be the same whether they
// are searched from the end or counted from the beginning.
func FuzzTail(f *testing.F) {
	quiet(f)
	records, _ := encoded(nil, []byte("one\ntwo\nthree\n"), Stdout, moment, false)
	records, _ = encoded(records, []byte("four\nfive"), Stderr, moment, true)
	f.Add(records, uint8(2))
	f.Add(append([]byte("\n\nnull\n{}\n"), records[:len(records)-1]...), uint8(3))
	f.Add(slices.Concat(records[:40], []byte("\n"), records), uint8(200))
	f.Add([]byte(`{"log":"a","stream":"x","time":"2026-02-03T04:05:06Z"}`+"\n"), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, tail uint8) {
		path := filepath.Join(t.TempDir(), "log")
		must(t, os.WriteFile(path, data, 0o600))
		read := func(n int) (lines []string) {
			must(t, Read(t.Context(), path, ReadOptions{Stdout: true, Stderr: true, Tail: n}, func(e Entry) error {
				lines = append(lines, e.Stream+" "+e.Time.String()+" "+string(e.Line))
				return nil
			}))
			return lines
		}
		all := read(-1)
		want := all[max(0, len(all)-int(tail)):]
		if got := read(int(tail)); !slices.Equal(got, want) {
			t.Errorf("the last %d of %q: %q, want %q", tail, data, got, want)
		}
	})
}

// FuzzResume opens a log and a note of the valid length, with any content. Afterwards the
// log must be a prefix of what it was, end with a whole line, and have that length noted.
func FuzzResume(f *testing.F) {
	quiet(f)
	note := func(at ...uint64) (b []byte) {
		for _, n := range at {
			b = binary.BigEndian.AppendUint64(b, n)
		}
		return b
	}
	f.Add([]byte("a\nb\nc"), note(2, 5, 0), int64(9))
	f.Add([]byte("a\nb\n"), note(1<<63, 1<<63, 1<<62), int64(0))
	f.Add([]byte("abc"), []byte("short"), int64(5))
	f.Add([]byte("a\n"), note(100, 1, 2), int64(1))
	f.Fuzz(func(t *testing.T, data, noted []byte, size int64) {
		if size < 0 {
			return
		}
		dir := t.TempDir()
		path, position := filepath.Join(dir, "log"), filepath.Join(dir, positionName)
		must(t, errors.Join(os.WriteFile(path, data, 0o600), os.WriteFile(position, noted, 0o600)))
		streams := [len(streamNames)]*raw{{name: "stdout", size: size}}
		l, err := openLog(Log{Path: path}, position, &streams)
		must(t, err)
		must(t, l.close())
		kept, err := os.ReadFile(path)
		must(t, err)
		if !bytes.HasPrefix(data, kept) || len(kept) > 0 && kept[len(kept)-1] != '\n' || l.size != int64(len(kept)) {
			t.Errorf("%q became %q, of %d bytes", data, kept, l.size)
		}
		if r := streams[0]; r.encoded < 0 || r.encoded > r.size || r.freed < 0 || r.freed > r.encoded {
			t.Errorf("%q: encoded %d, freed %d of %d", noted, r.encoded, r.freed, r.size)
		}
		again, err := os.ReadFile(position)
		must(t, err)
		if len(again) < positionSize || binary.BigEndian.Uint64(again) != uint64(len(kept)) {
			t.Errorf("the note says %x of a log of %d bytes", again, len(kept))
		}
	})
}
