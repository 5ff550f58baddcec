package logs

import (
	"os"
	"strconv"
	"strings"
)

// Log says where and how an output is logged.
type Log struct {
	// Path is the json-file log, which may have records of earlier runs; empty where nothing is logged.
	Path string
	// MaxSize is the length in bytes at which a file is followed by the next one, after a whole record; 0 is no bound.
	MaxSize int64
	// MaxFiles is how many files are kept, the current one counted. Less than 2 keeps the current one only.
	MaxFiles int
	// Compress compresses the rotated files.
	Compress bool
	// Buffer is how many bytes the encoder may be behind before lines are lost; 0 has the process wait instead.
	Buffer int64
	// Attrs is a JSON object of strings that each record gets; empty for none.
	Attrs []byte
}

// rotated is the name of the i-th rotated file, the first of which is the newest; the current one is number 0.
func rotated(path string, i int) string {
	if i == 0 {
		return path
	}
	return path + "." + strconv.Itoa(i)
}

// compressed is the name of a rotated file in its compressed form.
func compressed(name string) string { return name + ".gz" }

// shelve makes the log's name free: the log becomes the newest of the rotated files, and the oldest one goes if there
// are too many. Called again after an error or a kill in between, it goes on.
func (l Log) shelve() error {
	for _, m := range l.shelving() {
		if err := m.do(); err != nil {
			return err
		}
	}
	return nil
}

// move is one step of a rotation: a file gets another name, or is removed where that is empty.
type move struct{ from, to string }

func (m move) do() error {
	if m.to != "" {
		return os.Rename(m.from, m.to)
	}
	return os.Remove(m.from)
}

// shelving returns the steps of shelve, none of which loses a file but the oldest one. A kill between two of them leaves
// one number without a file. The files behind that number have moved already, and stay where they are.
func (l Log) shelving() (steps []move) {
	if _, err := os.Lstat(l.Path); err != nil {
		return nil // it has moved, and the next one isn't there yet
	}
	if l.MaxFiles < 2 {
		return []move{{from: l.Path}}
	}
	free := 1
	for free < l.MaxFiles-1 && len(forms(rotated(l.Path, free))) > 0 {
		free++
	}
	for _, name := range forms(rotated(l.Path, free)) {
		steps = append(steps, move{from: name})
	}
	for i := free - 1; i > 0; i-- {
		// Where both forms are there, a kill came between the end of the compression and the removal of the plain one,
		// which is the last one here.
		all := forms(rotated(l.Path, i))
		for _, name := range all[1:] {
			steps = append(steps, move{from: name})
		}
		steps = append(steps, move{from: all[0], to: rotated(l.Path, i+1) + strings.TrimPrefix(all[0], rotated(l.Path, i))})
	}
	return append(steps, move{from: l.Path, to: rotated(l.Path, 1)})
}

// forms are the names that a rotated file has: the compressed one, which is complete if it is there, and the plain one.
func forms(name string) (found []string) {
	for _, form := range []string{compressed(name), name} {
		if _, err := os.Lstat(form); err == nil {
			found = append(found, form)
		}
	}
	return found
}
