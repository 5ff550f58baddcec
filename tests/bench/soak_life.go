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

// life is what a container of the churn does, and how it ends.
type life struct {
	name string
	args []string
	// play is what is done with the container from its start on. It returns when the container has ended, with what its
	// exit code has to be; where it removes the container itself the code is gone.
	play func(ctx context.Context, c *client, id string, random *rand.Rand) (code int, err error)
}

// gone is the code of a container that is no more.
const gone = -1

// talkArgs is a program that says something now and then, and ends with 3 when it is asked to.
var talkArgs = []string{"sh", "-c", "trap 'exit 3' TERM; while :; do echo a line of output; sleep 0.1; done"}

var lives = []life{
	{"stopped", talkArgs, playStopped},
	{"stopped", talkArgs, playStopped}, // as often as all that are killed
	{"killed", sleepArgs, playKilled},
	{"removed", talkArgs, playRemoved},
	{"ends", []string{"sh", "-c", "dd if=" + textPath + " bs=64k count=4 2>/dev/null; exit 7"}, playEnds},
	{"fails", []string{"/no/such/program"}, playFails},
}

// live is one container's life, from its creation to its removal.
func (k *soak) live(ctx context.Context, l life, random *rand.Rand) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, oneLimit, fmt.Errorf("not done after %s", oneLimit))
	defer cancel()
	id, err := k.create(ctx, container{args: l.args, logged: true, health: probeEvery})
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	k.made.Add(1)
	code, err := l.play(ctx, k.client, id, random)
	if err == nil && code != gone {
		var got int
		if got, err = k.wait(ctx, id); err == nil && got != code {
			err = fmt.Errorf("the exit code is %d, not %d", got, code)
		}
	}
	if err != nil || code != gone {
		err = errors.Join(err, k.remove(context.WithoutCancel(ctx), id))
	}
	if err != nil {
		return fmt.Errorf("%s, container %s: %w", l.name, id, err)
	}
	return nil
}

// playStopped has execs run, a follower of the logs leave in the middle, and a health that is known.
func playStopped(ctx context.Context, c *client, id string, random *rand.Rand) (int, error) {
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
		until(ctx, patience, func() error { return c.healthy(ctx, id) }),
		c.post(ctx, "/containers/"+id+"/stop?t=60", nil, nil),
	)
}

// playKilled kills a container while somebody is attached and an exec runs in it.
func playKilled(ctx context.Context, c *client, id string, _ *rand.Rand) (int, error) {
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
	_, err = count(exec) // to its end, which its container's is
	_, failed := count(attached)
	return 137, errors.Join(err, failed)
}

// playRemoved removes a container by force while it is paused, or not, and a follower of its logs and an exec are there.
func playRemoved(ctx context.Context, c *client, id string, random *rand.Rand) (int, error) {
	if err := c.start(ctx, id); err != nil {
		return 0, err
	}
	_, exec, err := c.startExec(ctx, id, sleepArgs)
	if err != nil {
		return 0, err
	}
	exec.close() // who reads it leaves
	if err := c.readLine(ctx, id); err != nil {
		return 0, err
	}
	if random.IntN(2) == 0 {
		if err := c.post(ctx, "/containers/"+id+"/pause", nil, nil); err != nil {
			return 0, err
		}
	}
	return gone, c.remove(ctx, id)
}

func playEnds(ctx context.Context, c *client, id string, _ *rand.Rand) (int, error) {
	return 7, c.start(ctx, id)
}

// playFails starts what can't be started.
func playFails(ctx context.Context, c *client, id string, _ *rand.Rand) (int, error) {
	if err := c.start(ctx, id); err == nil {
		return 0, errors.New("it was started")
	}
	return 127, nil
}

// readLine follows a container's log to the end of its first line.
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

// healthy returns nil once a container is.
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
