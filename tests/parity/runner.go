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
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/engine-lite/engine-lite/tests/peer"
)

// stepLimit bounds one step: a command that does not end is an answer, too.
const stepLimit = 20 * time.Second

// A runner runs cases on one daemon and collects the answers.
type runner struct {
	daemon  *peer.Daemon
	env     []string
	dir     string
	answers answers
}

func newRunner(work, dir string, d *peer.Daemon) (*runner, error) {
	// Debian's: the docker that a machine may have is of any version.
	docker := filepath.Join(work, ".cache/docker-debian")
	if _, err := os.Stat(filepath.Join(docker, "docker")); err != nil {
		return nil, fmt.Errorf("hack/setup has not been run: %w", err)
	}
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o755); err != nil {
		return nil, err
	}
	return &runner{
		daemon: d, dir: home, answers: answers{},
		env: []string{
			"PATH=" + docker + ":" + os.Getenv("PATH"), "HOME=" + home, "DOCKER_HOST=unix://" + d.Socket, "LC_ALL=C.UTF-8", "TERM=dumb",
		},
	}, nil
}

// run runs a case, takes the events that came of it, and removes its containers.
func (r *runner) run(ctx context.Context, c testCase) error {
	since := time.Now()
	for i, s := range c.steps {
		key := fmt.Sprintf("%s%s%d", c.name, behindName, i+1)
		if s.shell {
			r.command(ctx, key, s)
		} else if err := r.request(ctx, key, s); err != nil {
			return err
		}
	}
	if err := r.events(ctx, c.name, since); err != nil {
		return err
	}
	return r.cleanUp(ctx)
}

// image is what all cases need.
const image = "busybox:latest"

// command runs a command line: its exit code and what it prints are the answer.
func (r *runner) command(ctx context.Context, key string, s step) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", s.body)
	cmd.Env, cmd.Dir, cmd.WaitDelay = r.env, r.dir, time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	code := strconv.Itoa(cmd.ProcessState.ExitCode())
	if ctx.Err() != nil {
		code = "no end"
	} else if err != nil && cmd.ProcessState.ExitCode() < 0 {
		code = err.Error()
	}
	r.answers[key+" exit"] = code
	r.answers.add(key+" out", stdout.Bytes())
	r.answers.add(key+" err", stderr.Bytes())
}

// request sends a request: status and body are the answer.
func (r *runner) request(ctx context.Context, key string, s step) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, s.method, "http://docker"+s.path, strings.NewReader(s.body))
	if err != nil {
		return err
	}
	if s.body != "" {
		q.Header.Set("Content-Type", "application/json")
	}
	answer, err := r.daemon.Client.Do(q)
	if err != nil {
		r.answers[key+" status"] = "no answer: " + normal(err.Error())
		return nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil && ctx.Err() == nil {
		text = append(text, err.Error()...)
	}
	r.answers[key+" status"] = strconv.Itoa(answer.StatusCode)
	r.answers[key+" type"] = answer.Header.Get("Content-Type")
	r.answers.add(key+" body", text)
	return nil
}

// chosenName is the name of a container that a daemon has chosen, at random.
var chosenName = regexp.MustCompile(`^[a-z]+_[a-z]+(_[0-9]+|[0-9])?$`)

// events are those of a case: the actions in their order, and the attributes of each action's
// first event, second event and so on.
func (r *runner) events(ctx context.Context, name string, since time.Time) error {
	until := time.Now()
	text, err := r.daemon.Do(ctx, http.MethodGet, fmt.Sprintf("/events?since=%d.%09d&until=%d.%09d",
		since.Unix(), since.Nanosecond(), until.Unix(), until.Nanosecond()), nil)
	if err != nil {
		return err
	}
	all := json.NewDecoder(bytes.NewReader(text))
	var order []string
	seen := map[string]int{}
	for {
		var e struct {
			Type, Action string
			Actor        struct{ Attributes map[string]string }
		}
		if err := all.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if e.Type == "network" { // they come with networks
			continue
		}
		action := normal(e.Type + " " + e.Action)
		order = append(order, action)
		seen[action]++
		for attribute, value := range e.Actor.Attributes {
			if attribute == "execDuration" { // seconds
				value = "<seconds>"
			}
			key := fmt.Sprintf("%s%sevent %s %d %s", name, behindName, action, seen[action], attribute)
			r.answers[key] = chosenName.ReplaceAllString(normal(value), "<name>")
		}
	}
	r.answers[name+behindName+"events"] = strings.Join(killsFirst(order), ", ")
	return nil
}

// killsFirst has the event of a signal before that of the exit: both daemons append it when the signal was sent, beside
// the exit that comes of it.
func killsFirst(order []string) []string {
	for i := 1; i < len(order); i++ {
		if order[i-1] == "container die" && order[i] == "container kill" {
			order[i-1], order[i] = order[i], order[i-1]
		}
	}
	return order
}

func (r *runner) cleanUp(ctx context.Context) error {
	if err := r.daemon.RemoveAll(ctx); err != nil {
		return err
	}
	if _, err := r.daemon.Do(ctx, http.MethodGet, "/images/"+image+"/json", nil); err != nil {
		return r.daemon.Import(ctx, image) // the case removed it
	}
	return nil
}
