package containers

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/internal/classed"
)

// Registry finds containers by id, the beginning of an id, or name.
type Registry struct {
	mu    sync.RWMutex
	byID  map[string]*Container
	Names map[string]string // name -> id
}

func NewRegistry() *Registry {
	return &Registry{byID: map[string]*Container{}, Names: map[string]string{}}
}

func (r *Registry) Add(o *Container, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[o.ID] = o
	r.Names[name] = o.ID
}

func (r *Registry) Rename(o *Container, from, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Names[from] == o.ID { // else another one has the name by now
		delete(r.Names, from)
	}
	r.Names[to] = o.ID
}

func (r *Registry) Remove(o *Container, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, o.ID)
	if r.Names[name] == o.ID {
		delete(r.Names, name)
	}
}

// All returns every container, by id: what is done for one after the other is
// done in the same order each time.
func (r *Registry) All() []*Container {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list := slices.Collect(maps.Values(r.byID))
	slices.SortFunc(list, func(a, b *Container) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// Find resolves what a user calls a container: an id, a name, or the beginning
// of one id. Errors: NotFound, InvalidArgument where several ids begin so.
func (r *Registry) Find(ref string) (*Container, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	id := ref
	if r.byID[id] == nil {
		id = r.Names[strings.TrimPrefix(ref, "/")]
	}
	if o := r.byID[id]; o != nil && o.exists() {
		return o, nil
	}
	var found *Container
	for id, o := range r.byID {
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

// nameCharacters are those of a name, in the words of dockerd. There are two at least.
const nameCharacters = "[a-zA-Z0-9][a-zA-Z0-9_.-]"

// maxName is the length of the longest name, in bytes: no file's name is longer.
const maxName = 255

var validName = regexp.MustCompile("^" + nameCharacters + "+$")

// CheckName checks the name of a container. Errors: InvalidArgument.
func CheckName(name string) error {
	switch {
	case !validName.MatchString(name):
		return classed.Errorf(errdefs.ErrInvalidArgument, "Invalid container name (%s), only %s are allowed", name, nameCharacters)
	case len(name) > maxName:
		return classed.Errorf(errdefs.ErrInvalidArgument, "Invalid container name (%s), it is longer than %d bytes", name, maxName)
	}
	return nil
}

// Sorted returns the containers' records, newest first.
func (r *Registry) Sorted() []*record.Record {
	list := r.All()
	records := make([]*record.Record, 0, len(list))
	for _, o := range list {
		if r := o.Record(); r.Version > 0 {
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
