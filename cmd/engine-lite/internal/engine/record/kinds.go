package record

import (
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
	"github.com/engine-lite/engine-lite/journal"
)

// The kinds of record that the engine keeps of its containers.
var (
	// Containers are by id.
	Containers = store.Kind[*Record]{Name: "container", What: "container"}
	// Names are the ids of containers by name.
	Names = store.Text("name", "container name")
	// Execs are the processes that users added to running containers, by id.
	Execs = store.Kind[Exec]{Name: "exec", What: "exec"}
	// RemovedExits are the last exits of removed containers, by id.
	RemovedExits = store.Kind[*RemovedExit]{Name: "bygone", What: "removed container"}
	// RemovalOrder are the ids of removed containers by the number of the event destroy, 16 hexadecimal digits.
	RemovalOrder = store.Text("bygone-order", "removal order")
)

// Kinds are all of them.
func Kinds() []store.Registered {
	return []store.Registered{Containers, Names, Execs, RemovedExits, RemovalOrder}
}

// Load returns the record of a container; NotFound where there is none.
func Load(r journal.Reader, id string) (*Record, error) {
	c, ok, err := Containers.Get(r, id)
	if !ok {
		return nil, NotFound(id)
	}
	return c, err
}

// Put writes the record of a container.
func (r *Record) Put(tx *store.Tx) error { return Containers.Put(tx, r.ID, r) }
