package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
)

// scenario is what a container of the soak does, and how it ends.
type scenario struct {
	name string
	args []string
	// run uses the container from its start on. It returns when the container has ended, with
	// the exit code that the container must have, or removedByScenario.
	run func(ctx context.Context, c *client, id string, random *rand.Rand) (code int, err error)
}

// removedByScenario is the exit code of a container that its scenario has removed.
const removedByScenario = -1

// talkArgs is a program that writes a line every 0.1 s, and ends with 3 at SIGTERM.
var talkArgs = []string{"sh", "-c", "trap 'exit 3' TERM; while :; do echo a line of output; sleep 0.1; done"}

var scenarios = []scenario{
	{"stopped", talkArgs, runStopped},
	{"stopped", talkArgs, runStopped}, // twice: as often as killed and removed together
	{"killed", sleepArgs, runKilled},
	{"removed", talkArgs, runRemoved},
	{"ends", []string{"sh", "-c", "dd if=" + textPath + " bs=64k count=4 2>/dev/null; exit 7"}, runEnding},
	{"fails", []string{"/no/such/program"}, runFailing},
}

// runScenario creates a container, runs its scenario, and removes the container.
func (k *soak) runScenario(ctx context.Context, l scenario, random *rand.Rand) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oneLimit, fmt.Errorf("not done after %s", oneLimit))
	defer cancel()
	id, err := k.create(ctx, container{args: l.args, logged: true, health: probeEvery})
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	k.made.Add(1)
	code, err := l.run(ctx, k.client, id, random)
	if err == nil && code != removedByScenario {
		var got int
		if got, err = k.wait(ctx, id); err == nil && got != code {
			err = fmt.Errorf("the exit code is %d, not %d", got, code)
		}
	}
	if err != nil || code != removedByScenario {
		err = errors.Join(err, k.remove(context.WithoutCancel(ctx), id))
	}
	if err != nil {
		return fmt.Errorf("%s, container %s: %w", l.name, id, err)
	}
	return nil
}

// runStopped runs execs, follows the log for a line, waits until the container is healthy,
// and stops it.
func runStopped(ctx context.Context, c *client, id string, random *rand.Rand) (int, error) {
	if err := c.start(ctx, id); err != nil {
		return 0, err
	}
	for range 1 + random.IntN(2) {
		if err := c.exec(ctx, id); err != nil {
			return 0, err
		}
	}
	return 3, errors.Join(
		c.readLine(ctx, id),
		until(ctx, waitLimit, func() error { return c.healthy(ctx, id) }),
		c.post(ctx, "/containers/"+id+"/stop?t=60", nil, nil),
	)
}

// runKilled kills a container while a client is attached and an exec runs.
func runKilled(ctx context.Context, c *client, id string, _ *rand.Rand) (int, error) {
	attached, err := c.hijack(ctx, "/containers/"+id+"/attach?stream=1&stdout=1&stderr=1", "")
	if err != nil {
		return 0, err
	}
	defer attached.close()
	if err := c.start(ctx, id); err != nil {
		return 0, err
	}
	_, exec, err := c.startExec(ctx, id, sleepArgs)
	if err != nil {
		return 0, err
	}
	defer exec.close()
	if err := c.post(ctx, "/containers/"+id+"/kill", nil, nil); err != nil {
		return 0, err
	}
	_, err = count(exec) // until the exec ends with its container
	_, failed := count(attached)
	return 137, errors.Join(err, failed)
}

// runRemoved removes a container by force. Sometimes the container is paused. An exec runs
// in it, whose client has left.
func runRemoved(ctx context.Context, c *client, id string, random *rand.Rand) (int, error) {
	if err := c.start(ctx, id); err != nil {
		return 0, err
	}
	_, exec, err := c.startExec(ctx, id, sleepArgs)
	if err != nil {
		return 0, err
	}
	exec.close() // the client leaves
	if err := c.readLine(ctx, id); err != nil {
		return 0, err
	}
	if random.IntN(2) == 0 {
		if err := c.post(ctx, "/containers/"+id+"/pause", nil, nil); err != nil {
			return 0, err
		}
	}
	return removedByScenario, c.remove(ctx, id)
}

func runEnding(ctx context.Context, c *client, id string, _ *rand.Rand) (int, error) {
	return 7, c.start(ctx, id)
}

// runFailing starts a container that can't be started.
func runFailing(ctx context.Context, c *client, id string, _ *rand.Rand) (int, error) {
	if err := c.start(ctx, id); err == nil {
		return 0, errors.New("it was started")
	}
	return 127, nil
}

// readLine follows a container's log until it has its first line.
func (c *client) readLine(ctx context.Context, id string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, err := c.ask(ctx, http.MethodGet, "/containers/"+id+"/logs?follow=1&stdout=1", nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = bufio.NewReader(answer.Body).ReadString('\n')
	return err
}

// healthy returns nil if the container is healthy.
func (c *client) healthy(ctx context.Context, id string) error {
	var shown struct {
		State struct{ Health struct{ Status string } }
	}
	if err := c.get(ctx, "/containers/"+id+"/json", &shown); err != nil {
		return err
	}
	if shown.State.Health.Status != "healthy" {
		return errors.New("its health is " + strconv.Quote(shown.State.Health.Status))
	}
	return nil
}
