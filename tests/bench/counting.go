package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// countingContainer is a container that writes numbered lines until SIGTERM. Then it
// writes the number of its last line to its output, and to a file in memory that is read
// without the engine.
type countingContainer struct {
	id   string
	code int // its exit code
	fd   int // a pidfd of its process
	shm  int // its /dev/shm, which exists as long as this descriptor is open
}

type countingContainers []*countingContainer

// The trap runs between two commands. $w is the last line that was certainly written; one
// more may have been.
const countScript = `trap 'echo "end $w"; echo "$w" >/dev/shm/end; exit %d' TERM
i=0; w=0
while :; do i=$((i+1)); echo "line $i of a container that goes on counting whoever listens"; w=$i; [ $((i%%20)) != 0 ] || sleep 0.1; done`

// startCounting starts the containers, and returns when each has begun to count.
func startCounting(ctx context.Context, d *daemon) (countingContainers, error) {
	var all countingContainers
	for i := range countingSize {
		c := &countingContainer{code: 40 + i, fd: -1, shm: -1}
		all = append(all, c)
		if err := c.begin(ctx, d); err != nil {
			all.close()
			return nil, fmt.Errorf("container %d: %w", i, err)
		}
	}
	return all, nil
}

func (c *countingContainer) begin(ctx context.Context, d *daemon) error {
	var err error
	if c.id, err = d.create(ctx,
		container{args: []string{"sh", "-c", fmt.Sprintf(countScript, c.code)}, logged: true}); err != nil {
		return err
	}
	if err = d.start(ctx, c.id); err != nil {
		return err
	}
	pid, err := d.pid(ctx, c.id)
	if err != nil {
		return err
	}
	if c.fd, err = unix.PidfdOpen(pid, 0); err != nil {
		return err
	}
	if c.shm, err = unix.Open(fmt.Sprintf("/proc/%d/root/dev/shm", pid),
		unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	return until(ctx, waitLimit, func() error { // the trap is set by then
		l, err := c.output(ctx, d)
		if err == nil && l.last == 0 {
			err = errors.New("it has written nothing yet")
		}
		return err
	})
}

func (all countingContainers) close() {
	for _, c := range all {
		for _, fd := range []int{c.fd, c.shm} {
			if fd >= 0 {
				_ = unix.Close(fd)
			}
		}
	}
}

// endSome ends some containers, and returns when they have ended.
func (all countingContainers) endSome(ctx context.Context, some countingContainers) error {
	for _, c := range some {
		if err := unix.PidfdSendSignal(c.fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	for _, c := range some {
		err := until(ctx, waitLimit, func() error {
			if c.runs() {
				return fmt.Errorf("container %s does not end", c.id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// runs is true if the container's process has not ended.
func (c *countingContainer) runs() bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, 0)
	return err == nil && n == 0
}

// written is the number of the last line that the container has certainly written.
func (c *countingContainer) written() (int, error) {
	fd, err := unix.Openat(c.shm, "end", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("container %s has not written its last line: %w", c.id, err)
	}
	f := os.NewFile(uintptr(fd), "end")
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(data)))
}

// lines is what a container's log has.
type lines struct {
	seen     map[int]int // how often, by line
	last     int
	end      int // how often the last line is in it
	repeated int // bytes
	strange  int // bytes of other lines
}

// output reads a container's log.
func (c *countingContainer) output(ctx context.Context, d *daemon) (*lines, error) {
	answer, err := d.ask(ctx, http.MethodGet, "/containers/"+c.id+"/logs?stdout=1&stderr=1", nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	l := &lines{seen: map[int]int{}}
	frames := newPayload(answer.Body)
	r := bufio.NewScanner(&frames)
	for r.Scan() {
		l.add(r.Text())
	}
	return l, r.Err()
}

func (l *lines) add(text string) {
	var i int
	switch {
	case strings.HasPrefix(text, "end "):
		l.end++
		if l.end > 1 {
			l.repeated += len(text) + 1
		}
	case scans(text, &i) && text == lineText(i):
		l.seen[i]++
		l.last = max(l.last, i)
		if l.seen[i] > 1 {
			l.repeated += len(text) + 1
		}
	default:
		l.strange += len(text) + 1
	}
}

func scans(text string, i *int) bool {
	n, err := fmt.Sscanf(text, "line %d ", i)
	return err == nil && n == 1
}

func lineText(i int) string {
	return fmt.Sprintf("line %d of a container that goes on counting whoever listens", i)
}

// compare adds the bytes that are missing from a container's log, and those that are in it
// twice.
func (f *outcome) compare(ctx context.Context, d *daemon, c *countingContainer) error {
	written, err := c.written()
	if err != nil {
		return err
	}
	var l *lines
	// The last lines may come later.
	err = until(ctx, statesWithin, func() error {
		if l, err = c.output(ctx, d); err != nil {
			return err
		}
		if l.end == 0 {
			return errors.New("the end is missing")
		}
		return nil
	})
	if l == nil || ctx.Err() != nil {
		return err
	}
	for i := 1; i <= max(written, l.last); i++ {
		if l.seen[i] == 0 {
			f.Missing += len(lineText(i)) + 1
		}
	}
	if l.end == 0 {
		f.Missing += len(fmt.Sprintf("end %d\n", written))
	}
	f.Repeated += l.repeated
	f.Strange += l.strange
	return nil
}

// exitCode returns the exit code of a container that has ended, or -1 if the engine still
// shows it as running.
func (d *daemon) exitCode(ctx context.Context, id string) (int, error) {
	var made struct {
		State struct {
			Running  bool
			ExitCode int
		}
	}
	err := until(ctx, statesWithin, func() error {
		if err := d.get(ctx, "/containers/"+id+"/json", &made); err != nil {
			return err
		}
		if made.State.Running {
			return errors.New("it is shown as running")
		}
		return nil
	})
	if made.State.Running && ctx.Err() == nil {
		return -1, nil
	}
	return made.State.ExitCode, err
}

// deaths returns the exit codes in the die events of a time, by container.
func (d *daemon) deaths(ctx context.Context, since, until time.Time) (map[string][]string, error) {
	q := url.Values{
		"since": {unixTime(since)}, "until": {unixTime(until)},
		"filters": {`{"type":["container"],"event":["die"]}`},
	}
	answer, err := d.ask(ctx, http.MethodGet, "/events?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	deaths := map[string][]string{}
	for decoder := json.NewDecoder(answer.Body); ; {
		var event struct {
			Actor struct {
				ID         string
				Attributes map[string]string
			}
		}
		if err := decoder.Decode(&event); err == io.EOF {
			return deaths, nil
		} else if err != nil {
			return nil, err
		}
		deaths[event.Actor.ID] = append(deaths[event.Actor.ID], event.Actor.Attributes["exitCode"])
	}
}

func unixTime(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
