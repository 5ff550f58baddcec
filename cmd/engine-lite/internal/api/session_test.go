package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/moby/moby/api/pkg/stdcopy"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/exec"
)

const (
	attachAll = "POST /v1.44/containers/c/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\n"
	attachOut = "POST /v1.44/containers/c/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: docker\r\n"
	upgrade   = "Connection: Upgrade\r\nUpgrade: tcp\r\n"
)

// readHead reads the answer's header.
func readHead(t *testing.T, conn net.Conn) (*http.Response, *bufio.Reader) {
	t.Helper()
	br := bufio.NewReader(conn)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("cannot read the answer: %v", err)
	}
	return resp, br
}

// echo copies stdin to stdout until its end, and says so on stderr.
func echo(terminal bool) func(context.Context, engine.AttachOptions) error {
	return func(_ context.Context, o engine.AttachOptions) error {
		s, err := o.Open(terminal)
		if err != nil {
			return err
		}
		if _, err := io.Copy(s.Stdout, s.Stdin); err != nil {
			return err
		}
		end := s.Stderr
		if terminal {
			end = s.Stdout
		}
		_, err = io.WriteString(end, "end of input")
		return err
	}
}

func TestAttach(t *testing.T) {
	for _, c := range []struct {
		name, version, upgrade string
		terminal               bool
		status, media          string
	}{
		{"upgraded", "v1.44", upgrade, false, "101 UPGRADED", "application/vnd.docker.multiplexed-stream"},
		{"upgraded terminal", "v1.44", upgrade, true, "101 UPGRADED", "application/vnd.docker.raw-stream"},
		{"old", "v1.41", upgrade, false, "101 UPGRADED", "application/vnd.docker.raw-stream"},
		{"plain", "v1.44", "", false, "200 OK", "application/vnd.docker.multiplexed-stream"},
		{"plain terminal", "v1.44", "", true, "200 OK", "application/vnd.docker.raw-stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDaemon(t, withAttach(echo(c.terminal)))
			// Some of the input comes with the request, in one packet.
			conn := d.dial(strings.Replace(attachAll, "v1.44", c.version, 1) + c.upgrade + "\r\nearly ")
			resp, br := readHead(t, conn)
			if resp.Status != c.status || resp.Header.Get("Content-Type") != c.media {
				t.Errorf("answered %q with %q", resp.Status, resp.Header.Get("Content-Type"))
			}
			if up := resp.Header.Get("Upgrade"); (up == "tcp") != (c.upgrade != "") {
				t.Errorf("Upgrade: %q", up)
			}
			if _, err := io.WriteString(conn, "late"); err != nil {
				t.Fatal(err)
			}
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			stdout, stderr := output(t, br, c.terminal)
			if c.terminal {
				stdout, stderr = strings.TrimSuffix(stdout, "end of input"), "end of input"
			}
			if stdout != "early late" || stderr != "end of input" {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
		})
	}
}

// output reads until the end, which has to be a proper one.
func output(t *testing.T, r io.Reader, terminal bool) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	var err error
	if terminal {
		_, err = io.Copy(&out, r)
	} else {
		_, err = stdcopy.StdCopy(&out, &errs, r)
	}
	if err != nil {
		t.Fatalf("cannot read the output: %v", err)
	}
	return out.String(), errs.String()
}

// TestAttachOutputAfterHalfClose has a client that sends nothing any more while
// output goes on: that is no reason to end.
func TestAttachOutputAfterHalfClose(t *testing.T) {
	proceed := make(chan struct{})
	d := newDaemon(t, withAttach(func(ctx context.Context, o engine.AttachOptions) error {
		s, err := o.Open(false)
		if err != nil {
			return err
		}
		<-proceed
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_, err = s.Stdout.Write(bytes.Repeat([]byte("x"), 1<<20))
		return err
	}))
	conn := d.dial(attachOut + upgrade + "\r\n")
	_, br := readHead(t, conn)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if stdout, _ := output(t, br, false); len(stdout) != 1<<20 {
		t.Errorf("%d bytes of output", len(stdout))
	}
}

// TestAttachUnreadInput has a client whose input nobody reads: it gets all the
// output and a proper end, not a reset.
func TestAttachUnreadInput(t *testing.T) {
	d := newDaemon(t, withAttach(func(_ context.Context, o engine.AttachOptions) error {
		s, err := o.Open(false)
		if err != nil {
			return err
		}
		_, err = io.WriteString(s.Stdout, "all there is")
		return err
	}))
	conn := d.dial(attachAll + upgrade + "\r\n" + strings.Repeat("input", 100))
	_, br := readHead(t, conn)
	if _, err := io.WriteString(conn, strings.Repeat("more", 10000)); err != nil {
		t.Fatal(err)
	}
	if stdout, _ := output(t, br, false); stdout != "all there is" {
		t.Errorf("stdout %q", stdout)
	}
}

// TestAttachClientGone has clients that vanish while the process is silent.
func TestAttachClientGone(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		read    bool
	}{
		"no stdin":     {attachOut, false},
		"stdin":        {attachAll, true},
		"unread stdin": {attachAll, false},
	} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			d := newDaemon(t, withAttach(func(ctx context.Context, o engine.AttachOptions) error {
				s, err := o.Open(false)
				if err != nil {
					return err
				}
				if c.read {
					if b, err := io.ReadAll(s.Stdin); string(b) != "last words" || err != nil {
						t.Errorf("stdin %q, %v", b, err)
					}
				}
				<-ctx.Done()
				close(gone)
				return ctx.Err()
			}))
			conn := d.dial(c.request + upgrade + "\r\n")
			readHead(t, conn)
			if c.read {
				if _, err := io.WriteString(conn, "last words"); err != nil {
					t.Fatal(err)
				}
			}
			conn.Close()
			<-gone
		})
	}
}

// TestAttachInputAfterEnd has input that comes after the engine let go: no
// reader may get it.
func TestAttachInputAfterEnd(t *testing.T) {
	read := make(chan error, 1)
	d := newDaemon(t, withAttach(func(_ context.Context, o engine.AttachOptions) error {
		s, err := o.Open(true)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(s.Stdout, "bye"); err != nil {
			return err
		}
		go func() {
			n, err := s.Stdin.Read(make([]byte, 10))
			if n > 0 {
				err = errors.New("read what was typed after the end")
			}
			read <- err
		}()
		return nil
	}))
	conn := d.dial(attachAll + upgrade + "\r\n")
	_, br := readHead(t, conn)
	if stdout, _ := output(t, br, true); stdout != "bye" {
		t.Errorf("stdout %q", stdout)
	}
	if _, err := io.WriteString(conn, "typed"); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("the connection is closed already: %v", err)
	}
	conn.Close()
	if err := <-read; err == nil || strings.Contains(err.Error(), "typed") {
		t.Errorf("stdin: %v", err)
	}
}

// TestInputClose has an engine that joins its reader before it returns.
func TestInputClose(t *testing.T) {
	d := newDaemon(t, withAttach(func(_ context.Context, o engine.AttachOptions) error {
		s, err := o.Open(true)
		if err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = io.Copy(io.Discard, s.Stdin)
		}()
		if err := s.Stdin.(io.Closer).Close(); err != nil {
			return err
		}
		<-ended
		return nil
	}))
	conn := d.dial(attachAll + upgrade + "\r\n")
	_, br := readHead(t, conn)
	output(t, br, true)
}

// TestAttachShutdown ends with a silent process and a client that stays.
func TestAttachShutdown(t *testing.T) {
	d := newDaemon(t, withAttach(func(ctx context.Context, o engine.AttachOptions) error {
		if _, err := o.Open(false); err != nil {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	conn := d.dial(attachAll + upgrade + "\r\n")
	readHead(t, conn)
}

// TestAttachShutdownSlowClient ends while a write to a client that doesn't read
// is stuck.
func TestAttachShutdownSlowClient(t *testing.T) {
	d := newDaemon(t, withAttach(func(_ context.Context, o engine.AttachOptions) error {
		s, err := o.Open(false)
		for err == nil {
			_, err = s.Stdout.Write(make([]byte, 1<<20))
		}
		return err
	}))
	conn := d.dial(attachAll + upgrade + "\r\n")
	readHead(t, conn)
}

func TestExecStart(t *testing.T) {
	d := newDaemon(t, withExecStart(func(ctx context.Context, o exec.StartOptions) error {
		return echo(false)(ctx, engine.AttachOptions{Open: o.Open})
	}))
	body := `{"Detach":false,"Tty":false}`
	conn := d.dial("POST /v1.51/exec/e/start HTTP/1.1\r\nHost: docker\r\n" + upgrade +
		"Content-Type: application/json\r\nContent-Length: 28\r\n\r\n" + body + "input")
	resp, br := readHead(t, conn)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("status %s", resp.Status)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr := output(t, br, false); stdout != "input" || stderr != "end of input" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}

// TestExecClientGone has an exec without stdin, which nobody reads.
func TestExecClientGone(t *testing.T) {
	gone := make(chan struct{})
	d := newDaemon(t, withExecStart(func(ctx context.Context, o exec.StartOptions) error {
		if _, err := o.Open(false); err != nil {
			return err
		}
		<-ctx.Done()
		close(gone)
		return ctx.Err()
	}))
	conn := d.dial("POST /exec/e/start HTTP/1.1\r\nHost: docker\r\n" + upgrade + "\r\n")
	readHead(t, conn)
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-gone
}
