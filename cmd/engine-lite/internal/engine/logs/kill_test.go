package logs

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/fifo"
)

// encodeUntilKilled is an engine. It moves the FIFOs below dir until it is killed, or
// until the process named on stdin has ended.
func encodeUntilKilled(dir string, maxSize int64) {
	stdout, stderr := openFIFO(dir, "out"), openFIFO(dir, "err")
	o, err := Open(Config{Dir: filepath.Join(dir, "raw"), Log: Log{
		Path: filepath.Join(dir, "log"), MaxSize: maxSize, MaxFiles: 1 << 20, Compress: maxSize > 0,
	}})
	if err != nil {
		panic(err)
	}
	o.Start(stdout, stderr)
	tellStarted()
	_, _ = os.Stdin.Read(make([]byte, 1))
	stdout.ExitKnown()
	stderr.ExitKnown()
	<-o.Drained()
}

// tellStarted is called by an engine that has begun to move bytes. awaitStarted waits for
// that, since the time until then does not matter for the moment of a kill.
func tellStarted() { _, _ = os.Stdout.Write([]byte{'+'}) }

// awaitStarted starts a process, waits until it has called tellStarted, and returns its
// stdin.
func awaitStarted(t *testing.T, engine *exec.Cmd) io.Closer {
	t.Helper()
	stdin, err := engine.StdinPipe()
	must(t, err)
	stdout, err := engine.StdoutPipe()
	must(t, err)
	must(t, engine.Start())
	_, err = io.ReadFull(stdout, make([]byte, 1))
	must(t, err)
	return stdin
}

func openFIFO(dir, name string) *fifo.Reader {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	r, err := fifo.NewReader(f)
	if err != nil {
		panic(err)
	}
	return r
}

// TestKilledEngines kills engines, one after the other, while a process writes. Each byte
// must be in the log once, also where the log is rotated all the time.
func TestKilledEngines(t *testing.T) {
	t.Run("one file", func(t *testing.T) { killEngines(t, 60000, 0, 3) })
	t.Run("rotated", func(t *testing.T) { killEngines(t, 30000, 50_000, 2) })
}

func killEngines(t *testing.T, lines int, maxSize int64, atLeast int) {
	checkLeaks(t)
	dir := t.TempDir()
	var keep []*os.File
	for _, name := range []string{"out", "err"} {
		must(t, exec.Command(busybox, "mkfifo", filepath.Join(dir, name)).Run())
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		keep = append(keep, f)
	}
	script := `i=0; while [ $i -lt ` + itoa(lines) + ` ]; do echo "out $i of the lines"; i=$((i+1)); [ $((i%3)) -gt 0 ] || echo "err $i" >&2; done; printf tail`
	writer := exec.Command(busybox, "sh", "-c", script)
	writer.Stdout, writer.Stderr = keep[0], keep[1]
	must(t, writer.Start())
	ended := make(chan struct{})
	go func() { _ = writer.Wait(); close(ended) }()
	kills := 0
	for over := false; !over; {
		engine := exec.Command("/proc/self/exe")
		engine.Env = append(os.Environ(), helperEnv+"="+dir, maxSizeEnv+"="+itoa(int(maxSize)))
		stdin := awaitStarted(t, engine)
		select {
		case <-ended:
			over = true
			must(t, stdin.Close())
			must(t, engine.Wait())
		case <-time.After(time.Duration(kills%20) * time.Millisecond):
			must(t, engine.Process.Kill())
			_ = engine.Wait()
			_ = stdin.Close()
			kills++
		}
	}
	p := &place{t: t, log: filepath.Join(dir, "log")}
	got := p.entries()
	var out, errs strings.Builder
	for i := range lines {
		out.WriteString("out " + itoa(i) + " of the lines\n")
		if (i+1)%3 == 0 {
			errs.WriteString("err " + itoa(i+1) + "\n")
		}
	}
	assertText(t, "stdout", got[Stdout], out.String()+"tail")
	assertText(t, "stderr", got[Stderr], errs.String())
	t.Logf("%d kills", kills)
	if kills < atLeast {
		t.Errorf("only %d kills", kills)
	}
}

// TestRewind is a kill between the append and the note of the length, at each place in the
// appended bytes.
func TestRewind(t *testing.T) {
	p := newPlace(t)
	o := p.open(0)
	s := newStream(t)
	o.Start(s, nil)
	s.write(t, "first\n")
	waitLogged(t, o, 0, 6)
	position, err := os.ReadFile(filepath.Join(p.dir, positionName))
	must(t, err)
	s.write(t, "second\nthird\nrest")
	waitLogged(t, o, 0, 19)
	s.Close()
	within(t, "the end", o.Drained())
	must(t, o.Close())
	whole, err := os.ReadFile(p.log)
	must(t, err)
	noted := int(binary.BigEndian.Uint64(position))
	for size := noted; size <= len(whole); size++ {
		must(t, os.WriteFile(p.log, whole[:size], 0o600))
		must(t, os.WriteFile(filepath.Join(p.dir, positionName), position, 0o600))
		o := p.open(0)
		o.Start(nil, nil)
		within(t, "the rest", o.Drained())
		must(t, o.Close())
		assertText(t, "log", p.entries()[Stdout], "first\nsecond\nthird\nrest")
	}
}

// TestPowerLoss opens logs, positions and raw files that don't fit together. The output
// must open, whole records stay, and new ones can be read.
func TestPowerLoss(t *testing.T) {
	for name, damage := range map[string]func(p *place) error{
		"shorter log":      func(p *place) error { return os.Truncate(p.log, 100) },
		"no log":           func(p *place) error { return os.Remove(p.log) },
		"zeros in the log": func(p *place) error { return os.WriteFile(p.log, make([]byte, 1<<20), 0o600) },
		"shorter raw":      func(p *place) error { return os.Truncate(filepath.Join(p.dir, Stdout), 3) },
		"no raw":           func(p *place) error { return os.Remove(filepath.Join(p.dir, Stdout)) },
		"no position":      func(p *place) error { return os.Remove(filepath.Join(p.dir, positionName)) },
		"short position":   func(p *place) error { return os.Truncate(filepath.Join(p.dir, positionName), 7) },
		"wild position": func(p *place) error {
			return os.WriteFile(filepath.Join(p.dir, positionName), bytes.Repeat([]byte{0xff}, positionSize), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkLeaks(t)
			p := newPlace(t)
			logText(t, p, numbered(0, 10))
			must(t, damage(p))
			logText(t, p, "later\n")
			logText(t, p, "last\n")
			if got := p.entries()[Stdout]; !strings.HasSuffix(got, "later\nlast\n") {
				t.Errorf("the log has %q", got)
			}
		})
	}
}

// logText is an engine during which a process writes text.
func logText(t *testing.T, p *place, text string) {
	t.Helper()
	o, s := p.open(0), newStream(t)
	o.Start(s, nil)
	s.write(t, text)
	s.end()
	within(t, "the end", o.Drained())
	must(t, o.Close())
	s.Close()
	must(t, s.set.Remove())
}
