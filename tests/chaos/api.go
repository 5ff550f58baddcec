package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// answer is the outcome of a request, with the times of the request and of the response.
type answer struct {
	status         int
	body           []byte
	err            error
	sent, answered time.Time
}

// done is true if the engine answered that the request was done.
func (a answer) done() bool { return a.err == nil && a.status < 300 }

// unclear is true if the request may have been done or not: there was no answer, or the
// answer was 503.
func (a answer) unclear() bool { return a.err != nil || a.status == http.StatusServiceUnavailable }

// call sends a request to the engine, with a body of JSON where it isn't empty.
func (w *world) call(ctx context.Context, method, path, body string) answer {
	kind := ""
	if body != "" {
		kind = "application/json"
	}
	return w.send(ctx, method, path, kind, strings.NewReader(body))
}

func (w *world) send(ctx context.Context, method, path, kind string, body io.Reader) answer {
	ctx, cancel := context.WithTimeout(ctx, waitLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
	if err != nil {
		return answer{err: err}
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	a := answer{sent: time.Now()}
	response, err := w.client.Do(request)
	if err != nil {
		a.err = err
		return a
	}
	defer response.Body.Close()
	a.status = response.StatusCode
	a.body, a.err = io.ReadAll(response.Body)
	a.answered = time.Now()
	return a
}

// callUntilAnswered repeats a request until it is answered. The request must be one that
// may be repeated.
func (w *world) callUntilAnswered(ctx context.Context, method, path string) answer {
	var a answer
	waitUntil(ctx, func() bool {
		a = w.call(ctx, method, path, "")
		return !a.unclear()
	})
	return a
}

// containerState is a part of the engine's answer to an inspect.
type containerState struct {
	ID           string
	RestartCount int
	State        struct {
		Status, Error               string
		Running, Paused, Restarting bool
		OOMKilled                   bool
		Pid, ExitCode               int
	}
}

// inspect asks for a container. found is false if there is none.
func (w *world) inspect(ctx context.Context, name string) (s containerState, found bool, err error) {
	a := w.callUntilAnswered(ctx, http.MethodGet, "/containers/"+name+"/json")
	switch {
	case a.err == nil && a.status == http.StatusNotFound:
		return s, false, nil
	case !a.done():
		return s, false, fmt.Errorf("inspect %s: %d %s %w", name, a.status, a.body, a.err)
	}
	return s, true, json.Unmarshal(a.body, &s)
}

// importSelf makes the image "chaos", which has this program as its only file.
func (w *world) importSelf(ctx context.Context) error {
	program, err := os.ReadFile(w.self)
	if err != nil {
		return err
	}
	archive, err := tarOf("chaos", 0o755, program)
	if err != nil {
		return err
	}
	a := w.send(ctx, http.MethodPost, "/images/create?fromSrc=-&repo=chaos&tag=latest", "application/x-tar", archive)
	if !a.done() || bytes.Contains(a.body, []byte("errorDetail")) {
		return fmt.Errorf("import the image: %d %s %w", a.status, a.body, a.err)
	}
	return nil
}

// frames joins the payloads of one stream of Docker's log frames: 8 bytes of header,
// the first the stream, the last four the length, big endian.
func frames(data []byte, stream byte) ([]byte, error) {
	var text []byte
	for len(data) > 0 {
		if len(data) < 8 {
			return nil, errors.New("a frame's header is cut off")
		}
		n := int(data[4])<<24 | int(data[5])<<16 | int(data[6])<<8 | int(data[7])
		if len(data) < 8+n {
			return nil, errors.New("a frame is cut off")
		}
		if data[0] == stream {
			text = append(text, data[8:8+n]...)
		}
		data = data[8+n:]
	}
	return text, nil
}
