package inspect_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

// oneRecord is a journal with one record.
type oneRecord struct {
	kind, key string
	value     []byte
}

func (o oneRecord) Get(kind, key string) ([]byte, bool) {
	return bytes.Clone(o.value), kind == o.kind && key == o.key
}

func (o oneRecord) ForEach(kind string, fn func(key string, value []byte) error) error {
	if kind != o.kind {
		return nil
	}
	return fn(o.key, bytes.Clone(o.value))
}

// FuzzRecord uses any bytes as a container's record. The container must be shown. A record
// that can be read must be the same after it is written and read again.
func FuzzRecord(f *testing.F) {
	const id = "abababababababababababababababababababababababababababababababab"
	for _, name := range []string{"everything.json", "container.json", "exec.json"} {
		raw, err := readFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"ID":"` + id +
		`","Status":"running","Config":{},"HostConfig":{"PortBindings":{"x":null},"Dns":["x"]},"Health":{"Log":null}}`))
	f.Add([]byte(`{"Config":null,"HostConfig":7}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		journal := oneRecord{record.Containers.Name, id, raw}
		shown := 0
		err := record.All(journal, func(r *record.Record) error {
			shown++
			inspect.Container(r, inspect.Place{})
			inspect.Summary(r, time.Unix(0, 0), nil)
			if r.Unreadable() != nil {
				return nil
			}
			written, err := record.Containers.Encode(r)
			if err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			again, err := record.Containers.Decode(id, written)
			if err != nil {
				t.Fatalf("%q, written as %q: %v", raw, written, err)
			}
			if twice, err := record.Containers.Encode(again); err != nil || !bytes.Equal(twice, written) {
				t.Errorf("%q, then %q: %v", written, twice, err)
			}
			return nil
		})
		if err != nil || shown != 1 {
			t.Errorf("%q: shown %d times, %v", raw, shown, err)
		}
		if x, err := record.Execs.Decode(id, raw); err == nil {
			inspect.Exec(x, true, nil)
		}
		_, _ = record.RemovedExits.Decode(id, raw)
		_, _ = record.Amendments.Decode(id, raw)
	})
}
