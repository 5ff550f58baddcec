package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/engine-lite/engine-lite/events"
)

// mirror is a copy of the engine's containers.
type mirror struct {
	client     *events.Client
	out        io.Writer
	containers map[string]container // by id
}

type container struct{ name, status string }

// begin copies the current state, and returns a position that is not newer than the
// state. The events after the position have all changes that aren't in the state yet.
// Some changes are in the state already; their events do no harm, since each event has
// the new status.
func (m *mirror) begin(ctx context.Context) (events.Position, error) {
	at, err := m.client.Now(ctx)
	if err != nil {
		return at, err
	}
	now, err := m.list(ctx)
	if err != nil {
		return at, err
	}
	for id := range m.containers {
		if _, there := now[id]; !there {
			now[id] = container{m.containers[id].name, "removed"}
		}
	}
	m.containers = map[string]container{}
	for _, id := range slices.Sorted(maps.Keys(now)) {
		if err := m.set(id, now[id]); err != nil {
			return at, err
		}
	}
	return at, nil
}

// list asks the engine for its containers, with Docker's API.
func (m *mirror) list(ctx context.Context) (map[string]container, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.client.URL+"/containers/json?all=1", nil)
	if err != nil {
		return nil, err
	}
	resp, err := m.client.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("list containers: %s", resp.Status)
	}
	var list []struct {
		ID, State string
		Names     []string
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	found := map[string]container{}
	for _, c := range list {
		found[c.ID] = container{strings.TrimPrefix(strings.Join(c.Names, ","), "/"), c.State}
	}
	return found, nil
}

// statuses has the status of a container after an event, by the event's action.
var statuses = map[string]string{
	"create": "created", "start": "running", "pause": "paused", "unpause": "running",
	"die": "exited", "destroy": "removed",
}

// apply changes the copy by an event. The same event may come twice.
func (m *mirror) apply(e events.Event) error {
	status, ok := statuses[e.Action]
	if e.Type != "container" || (!ok && e.Action != "rename") {
		return nil
	}
	c := m.containers[e.ID]
	c.name = e.Attributes["name"]
	if ok {
		c.status = status
	}
	return m.set(e.ID, c)
}

// set changes the status or name of a container in the copy, and prints the change.
func (m *mirror) set(id string, c container) error {
	if c == m.containers[id] {
		return nil
	}
	m.containers[id] = c
	if c.status == "removed" {
		delete(m.containers, id)
	}
	_, err := fmt.Fprintf(m.out, "%.12s %s %s\n", id, c.status, c.name)
	return err
}
