package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// endOfLog is the line that close writes into the FIFO to end the reader. The reader has
// read all earlier messages of containerd by then.
const endOfLog = "\x00"

// longestLine is the longest message in bytes. A longer one becomes several messages.
const longestLine = 64 << 10

// logReader reads containerd's messages from a FIFO.
type logReader struct {
	path string
	fifo *os.File // open for reading and writing: it has no end of file
	log  *slog.Logger
	read sync.WaitGroup

	mu   sync.Mutex
	last string // the last message of level warning or above
}

// openLog makes the FIFO at path if it is missing, and starts a goroutine that reads it.
// The goroutine ends with close.
func openLog(path string, log *slog.Logger) (*logReader, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("cannot make FIFO %q: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l := &logReader{path: path, fifo: f, log: log.With("from", "containerd")}
	l.read.Go(l.run)
	return l, nil
}

// writer opens the write end for containerd. It is blocking, as programs expect.
func (l *logReader) writer() (*os.File, error) {
	fd, err := unix.Open(l.path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open FIFO %q: %w", l.path, err)
	}
	return os.NewFile(uintptr(fd), l.path), nil
}

func (l *logReader) run() {
	lines := bufio.NewReaderSize(l.fifo, longestLine)
	for {
		line, _, err := lines.ReadLine()
		if err != nil || string(line) == endOfLog {
			return
		}
		if len(line) > 0 {
			l.logLine(string(line))
		}
	}
}

// logLine logs a line of containerd with the line's own level. A line that isn't in
// containerd's format, such as those of a panic, is logged whole, as a warning.
func (l *logReader) logLine(line string) {
	m, ok := parseMessage(line)
	if !ok {
		m = message{level: slog.LevelWarn, text: line}
	}
	if m.level >= slog.LevelWarn {
		l.mu.Lock()
		l.last = m.text
		l.mu.Unlock()
	}
	var fields []any
	for _, name := range slices.Sorted(maps.Keys(m.fields)) {
		fields = append(fields, name, m.fields[name])
	}
	l.log.Log(context.Background(), m.level, m.text, fields...)
}

// close reads all messages that were written before, and ends the goroutine.
func (l *logReader) close() error {
	_, err := l.fifo.WriteString("\n" + endOfLog + "\n")
	if err != nil {
		_ = l.fifo.Close() // ends the goroutine all the same; err is returned
	}
	l.read.Wait()
	return errors.Join(err, l.fifo.Close())
}

func (l *logReader) lastError() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// message is a line in logrus' text format, which containerd and its shims write.
type message struct {
	level  slog.Level
	text   string
	fields map[string]string
}

// levels are logrus' names of levels, and what the messages have here. A message that ended containerd is an error
// here.
var levels = map[string]slog.Level{
	"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn,
	"error": slog.LevelError, "fatal": slog.LevelError, "panic": slog.LevelError,
}

// parseMessage reads a line of key=value pairs, where a value is a quoted Go string or
// has neither spaces nor quotes. It returns false for other lines, and for a line
// without a level.
func parseMessage(line string) (message, bool) {
	m := message{fields: map[string]string{}}
	leveled := false
	for remaining := line; remaining != ""; {
		key, after, ok := strings.Cut(remaining, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \"") {
			return message{}, false
		}
		value, after, ok := cutValue(after)
		if !ok {
			return message{}, false
		}
		remaining = after
		switch key {
		case "time":
		case "level":
			if m.level, leveled = levels[value]; !leveled {
				return message{}, false
			}
		case "msg":
			m.text = value
		default:
			m.fields[key] = value
		}
	}
	return m, leveled
}

// cutValue cuts a value, and the space after it, off the beginning of s.
func cutValue(s string) (value, after string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, after, _ = strings.Cut(s, " ")
		return value, after, !strings.Contains(value, `"`)
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", false
	}
	value, err = strconv.Unquote(quoted)
	after = s[len(quoted):]
	return value, strings.TrimPrefix(after, " "), err == nil && (after == "" || after[0] == ' ')
}
