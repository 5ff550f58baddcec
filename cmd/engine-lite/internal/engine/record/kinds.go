package record

import (
	"errors"
	"fmt"
	"slices"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// The kinds of record that the engine keeps of its containers.
var (
	// Containers are by id. Load, All, Put and Delete take those into account that cannot be read.
	Containers = store.Kind[*Record]{
		Name: "container", What: "container", Schema: func(r **Record) *uint { return &(*r).Schema }, Valid: valid,
	}
	// Amendments are by the id of a container whose record cannot be read.
	Amendments = store.Kind[Amendment]{
		Name: "container-amendment", What: "container amendment", Schema: func(a *Amendment) *uint { return &a.Schema },
	}
	// Names are the ids of containers by name.
	Names = store.Text("name", "container name")
	// Execs are the processes that users added to running containers, by id.
	Execs = store.Kind[Exec]{
		Name: "exec", What: "exec", Schema: func(x *Exec) *uint { return &x.Schema }, Valid: validExec,
	}
	// RemovedExits are the last exits of removed containers, by id.
	RemovedExits = store.Kind[*RemovedExit]{
		Name: "exit-record", Formerly: "bygone", What: "removed container", Schema: func(x **RemovedExit) *uint { return &(*x).Schema },
	}
	// RemovalOrder are the ids of removed containers by the number of the event destroy, 16 hexadecimal digits.
	RemovalOrder = removalOrderKind()
)

func removalOrderKind() store.Kind[string] {
	k := store.Text("exit-record-order", "removal order")
	k.Formerly = "bygone-order"
	return k
}

// Kinds are all of them.
func Kinds() []store.Registered {
	return []store.Registered{Containers, Amendments, Names, Execs, RemovedExits, RemovalOrder}
}

var statuses = []Status{StatusCreated, StatusRunning, StatusPaused, StatusExited, StatusRestarting, StatusRemoving}

// valid returns why the engine could not work with a record.
func valid(id string, r *Record) error {
	switch {
	case r.ID != id:
		return fmt.Errorf("it is of container %q", r.ID)
	case r.Config == nil || r.HostConfig == nil:
		return errors.New("it has no Config or no HostConfig")
	case !slices.Contains(statuses, r.Status):
		return fmt.Errorf("it has the status %q", r.Status)
	}
	return nil
}

func validExec(id string, x Exec) error {
	switch {
	case x.ID != id:
		return fmt.Errorf("it is of exec %q", x.ID)
	case x.Container == "" || len(x.Request.Cmd) == 0:
		return errors.New("it has no container or no command")
	}
	return nil
}
