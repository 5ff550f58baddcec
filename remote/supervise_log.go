package remote

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// endOfLog is the line that the reader writes to itself to end: what containerd
// wrote before is read by then.
const endOfLog = "\x00"

// longestLine is what a message may have, in bytes; the rest becomes another one.
const longestLine = 64 << 10

// logReader reads containerd's messages from a FIFO.
type logReader struct {
	path string
	fifo *os.File // open for reading and writing: it has no end of file
	log  *logrus.Entry
	read sync.WaitGroup

	mu   sync.Mutex
	last string // the latest message that tells of trouble
}

// openLog reads the FIFO of a path, which is made where it is missing, by a
// goroutine that ends with close.
func openLog(path string, log *logrus.Entry) (*logReader, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("cannot make FIFO %q: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	l := &logReader{path: path, fifo: f, log: log.WithField("from", "containerd")}
	l.read.Go(l.run)
	return l, nil
}

// writer opens the end that containerd gets. It blocks, as programs expect.
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
			l.tell(string(line))
		}
	}
}

// tell logs a line with the level that it has; one that isn't in containerd's form,
// such as a panic's, as it is.
func (l *logReader) tell(line string) {
	m, ok := parseMessage(line)
	if !ok {
		m = message{level: logrus.WarnLevel, text: line}
	}
	if m.level <= logrus.WarnLevel {
		l.mu.Lock()
		l.last = m.text
		l.mu.Unlock()
	}
	l.log.WithFields(m.fields).Log(m.level, m.text)
}

// close ends the reading, once all was read that was written before.
func (l *logReader) close() error {
	_, err := l.fifo.WriteString("\n" + endOfLog + "\n")
	if err != nil {
		_ = l.fifo.Close() // ends the goroutine; err says why
	}
	l.read.Wait()
	return errors.Join(err, l.fifo.Close())
}

// lastWords is the latest message that tells of trouble, of those that were read.
func (l *logReader) lastWords() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// message is a line of a log in logrus' text form, which containerd and its shims
// write.
type message struct {
	level  logrus.Level
	text   string
	fields logrus.Fields
}

// parseMessage reads key=value pairs, whose values are Go strings or have neither
// spaces nor quotes. A line without a level isn't one; an empty text is left out.
func parseMessage(line string) (message, bool) {
	m := message{fields: logrus.Fields{}}
	leveled := false
	for rest := line; rest != ""; {
		key, after, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \"") {
			return message{}, false
		}
		value, after, ok := cutValue(after)
		if !ok {
			return message{}, false
		}
		rest = after
		switch key {
		case "time":
		case "level":
			parsed, err := logrus.ParseLevel(value)
			if err != nil {
				return message{}, false
			}
			// Here containerd's end is no reason to end.
			m.level, leveled = max(parsed, logrus.ErrorLevel), true
		case "msg":
			m.text = value
		default:
			m.fields[key] = value
		}
	}
	return m, leveled
}

// cutValue cuts a value, and the space behind it, off the beginning.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, " ")
		return value, rest, !strings.Contains(value, `"`)
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", false
	}
	value, err = strconv.Unquote(quoted)
	rest = s[len(quoted):]
	return value, strings.TrimPrefix(rest, " "), err == nil && (rest == "" || rest[0] == ' ')
}
