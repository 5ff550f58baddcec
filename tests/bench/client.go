package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// client uses Docker's REST API over a unix socket, with net/http: the time to start a
// docker command would hide what is measured.
type client struct {
	socket string
	http   *http.Client
}

func newClient(socket string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &client{socket, &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64}}}
}

// ask sends a request and returns the answer when its header is there; the caller closes the body.
func (c *client) ask(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		reader, contentType = b, "application/x-tar"
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://engine"+path, reader)
	if err != nil {
		return nil, err
	}
	if body != nil {
		q.Header.Set("Content-Type", contentType)
	}
	answer, err := c.http.Do(q)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		defer answer.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10))
		return nil, fmt.Errorf("%s %s: %s %s", method, path, answer.Status, bytes.TrimSpace(text))
	}
	return answer, nil
}

// do sends a request and decodes the answer into result, if there is one.
func (c *client) do(ctx context.Context, method, path string, body, result any) error {
	answer, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if result != nil {
		return json.NewDecoder(answer.Body).Decode(result)
	}
	_, err = io.Copy(io.Discard, answer.Body) // else the connection isn't used again
	return err
}

func (c *client) post(ctx context.Context, path string, body, result any) error {
	return c.do(ctx, http.MethodPost, path, body, result)
}

func (c *client) get(ctx context.Context, path string, result any) error {
	return c.do(ctx, http.MethodGet, path, nil, result)
}

// container is what a workload needs of a container.
type container struct {
	args   []string
	logged bool // json-file, else no log
	stdin  bool
	health time.Duration // between two probes; 0 for none
}

// image is the name of the image that all engines get.
const image = "bench"

// create makes a container with no network, and returns its id.
func (c *client) create(ctx context.Context, k container) (string, error) {
	driver := "none"
	if k.logged {
		driver = "json-file"
	}
	var made struct{ ID string }
	asked := map[string]any{
		"Image": image, "Cmd": k.args, "OpenStdin": k.stdin, "StdinOnce": k.stdin, "AttachStdin": k.stdin,
		"HostConfig": map[string]any{"NetworkMode": "none", "LogConfig": map[string]string{"Type": driver}},
	}
	if k.health > 0 {
		asked["Healthcheck"] = map[string]any{"Test": append([]string{"CMD"}, trueArgs...), "Interval": k.health}
	}
	err := c.post(ctx, "/containers/create", asked, &made)
	return made.ID, err
}

func (c *client) start(ctx context.Context, id string) error {
	return c.post(ctx, "/containers/"+id+"/start", nil, nil)
}

// remove kills and deletes a container, whatever its state is.
func (c *client) remove(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/containers/"+id+"?force=1", nil, nil)
}

// wait returns the exit code of a container that has ended or ends.
func (c *client) wait(ctx context.Context, id string) (int, error) {
	var end struct{ StatusCode int }
	err := c.post(ctx, "/containers/"+id+"/wait", nil, &end)
	return end.StatusCode, err
}

// running creates and starts a container that sleeps.
func (c *client) running(ctx context.Context) (string, error) {
	id, err := c.create(ctx, container{args: sleepArgs, logged: true})
	if err == nil {
		err = c.start(ctx, id)
	}
	return id, err
}

var sleepArgs = []string{"sleep", "100000"}

// pid is the process id of a running container.
func (c *client) pid(ctx context.Context, id string) (int, error) {
	var made struct{ State struct{ Pid int } }
	err := c.get(ctx, "/containers/"+id+"/json", &made)
	if err == nil && made.State.Pid == 0 {
		err = fmt.Errorf("container %s has no process", id)
	}
	return made.State.Pid, err
}

// importImage makes the image from a tar stream.
func (c *client) importImage(ctx context.Context, rootfs io.Reader) error {
	answer, err := c.ask(ctx, http.MethodPost,
		"/images/create?fromSrc=-&repo="+image+"&tag=latest&changes=ENV%20PATH=/bin", rootfs)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	return c.get(ctx, "/images/"+image+":latest/json", nil)
}

// pollEvery is the pause between two polls.
const pollEvery = 5 * time.Millisecond

// until polls until the condition returns no error. If that takes too long, it returns the
// last error.
func until(ctx context.Context, patience time.Duration, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %w", patience, err)
		case <-time.After(pollEvery):
		}
	}
}
