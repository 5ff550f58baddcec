package engine

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/internal/classed"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// roster finds containers by id, the beginning of an id, or name.
type roster struct {
	mu    sync.RWMutex
	byID  map[string]*object
	names map[string]string // name -> id
}

func newRoster() *roster {
	return &roster{byID: map[string]*object{}, names: map[string]string{}}
}

func (g *roster) add(o *object, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byID[o.id] = o
	g.names[name] = o.id
}

func (g *roster) rename(o *object, from, to string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.names[from] == o.id { // else another one has the name by now
		delete(g.names, from)
	}
	g.names[to] = o.id
}

func (g *roster) remove(o *object, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byID, o.id)
	if g.names[name] == o.id {
		delete(g.names, name)
	}
}

// all returns every container, by id: what is done for one after the other is
// done in the same order each time.
func (g *roster) all() []*object {
	g.mu.RLock()
	defer g.mu.RUnlock()
	list := slices.Collect(maps.Values(g.byID))
	slices.SortFunc(list, func(a, b *object) int { return strings.Compare(a.id, b.id) })
	return list
}

// find resolves what a user calls a container: an id, a name, or the beginning
// of one id. Errors: NotFound, InvalidArgument where several ids begin so.
func (g *roster) find(ref string) (*object, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	id := ref
	if g.byID[id] == nil {
		id = g.names[strings.TrimPrefix(ref, "/")]
	}
	if o := g.byID[id]; o != nil && o.exists() {
		return o, nil
	}
	var found *object
	for id, o := range g.byID {
		if ref == "" || !strings.HasPrefix(id, ref) || !o.exists() {
			continue
		}
		if found != nil {
			return nil, classed.Errorf(errdefs.ErrInvalidArgument, "several containers have an id that begins with %q", ref)
		}
		found = o
	}
	if found == nil {
		return nil, record.NotFound(ref)
	}
	return found, nil
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$`)

func checkName(name string) error {
	if !validName.MatchString(name) {
		return classed.Errorf(errdefs.ErrInvalidArgument, "invalid container name %q: it is a letter or digit and then letters, digits, '_', '.' and '-', 255 at most", name)
	}
	return nil
}

// sorted returns the containers' records, newest first.
func (g *roster) sorted() []*record.Record {
	objects := g.all()
	records := make([]*record.Record, 0, len(objects))
	for _, o := range objects {
		if r := o.record(); r.Version > 0 {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b *record.Record) int {
		if c := b.Created.Compare(a.Created); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return records
}
