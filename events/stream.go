package events

import (
	"bufio"
	"bytes"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// maxLine bounds a line of the stream, in bytes. The daemon's journal takes events below
// 1 MiB, and JSON may make six bytes of one.
const maxLine = 8 << 20

// stream reads server-sent events (WHATWG HTML, section 9.2), as far as the
// daemon uses them: comments, id and data, lines that end with LF.
type stream struct {
	lines *bufio.Scanner
	// alive is called with each line.
	alive func()
}

func newStream(r io.Reader, alive func()) *stream {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	return &stream{lines: lines, alive: alive}
}

// next returns the next event. Errors: Unavailable at the end of the stream; DataLoss if
// the data is no event.
func (s *stream) next() (Event, error) {
	var data []byte
	for s.lines.Scan() {
		s.alive()
		line := s.lines.Bytes()
		field, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(line) == 0 && data != nil:
			return decode(data)
		case string(field) == "data":
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		}
	}
	err := s.lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return Event{}, fmt.Errorf("the stream has ended: %w: %w", err, errdefs.ErrUnavailable)
}
