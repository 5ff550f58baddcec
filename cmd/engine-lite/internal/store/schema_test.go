package store

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/engine-lite/engine-lite/journal"
)

// part and thing are a record of several levels.
type part struct {
	N       int
	Unknown Unknown `json:",embed"`
}

type thing struct {
	Schema  uint `json:",omitzero"`
	Name    string
	Took    time.Duration
	List    []part
	ByName  map[string]part
	Pointer *part   `json:",omitempty"`
	Unknown Unknown `json:",embed"`
}

// things is the kind as a release has it that knows so many schemas. The first step renames Title to Name, the second
// turns the seconds of Took into nanoseconds.
func things(schemas int) Kind[thing] {
	steps := []Step{
		func(f Fields) error {
			if f["Title"] == nil {
				return errors.New("there is no Title")
			}
			f["Name"] = f["Title"]
			delete(f, "Title")
			return nil
		},
		func(f Fields) error {
			f["Took"] = jsontext.Value(string(f["Took"]) + "000000000")
			return nil
		},
	}
	return Kind[thing]{
		Name: "thing", Formerly: "oldthing", What: "thing", Schema: func(v *thing) *uint { return &v.Schema },
		Steps: steps[:schemas],
		Valid: func(_ string, v thing) error {
			if v.Name == "" {
				return errors.New("it has no name")
			}
			return nil
		},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encoded(t *testing.T, k Kind[thing], v thing) string {
	t.Helper()
	raw, err := k.Encode(v)
	must(t, err)
	return string(raw)
}

// What a release does not know is written again, wherever it stands, and goes where the thing goes that has it.
func TestUnknownFieldsAreKept(t *testing.T) {
	k := things(0)
	raw := `{"Name":"a","name":"another field","Took":5,"List":[{"N":1,"More":{"x":[1,2.50]}},{"N":2}],` +
		`"ByName":{"m":{"N":3,"More":"<&>"}},"Pointer":{"N":4,"More":null},"New":[{"N":1}]}`
	v, err := k.Decode("k", []byte(raw))
	must(t, err)
	for name, got := range map[string]string{`"name":"another field","New":[{"N":1}]`: string(v.Unknown),
		`"More":{"x":[1,2.50]}`: string(v.List[0].Unknown),
		`"More":"<&>"`:          string(v.ByName["m"].Unknown), `"More":null`: string(v.Pointer.Unknown)} {
		if got != "{"+name+"}" {
			t.Errorf("%s, not {%s}", got, name)
		}
	}
	v.List = v.List[1:]
	v.List = append(v.List, part{N: 9})
	got := encoded(t, k, v)
	want := `{"Name":"a","Took":5,"List":[{"N":2},{"N":9}],"ByName":{"m":{"N":3,"More":"<&>"}},"Pointer":{"N":4,"More":null},"name":"another field","New":[{"N":1}]}`
	if got != want {
		t.Errorf("%s, not\n%s", got, want)
	}
}

func TestSchema(t *testing.T) {
	for name, c := range map[string]struct {
		schemas int
		raw     string
		want    string // as it is written again
		err     string
	}{
		"first": {0, `{"Name":"a","Took":5}`, `{"Name":"a","Took":5,"List":null,"ByName":null}`, ""},
		"two steps": {2, `{"Title":"a","Took":5,"New":1}`,
			`{"Schema":2,"Name":"a","Took":5000000000,"List":null,"ByName":null,"New":1}`, ""},
		"one step": {2, `{"Schema":1,"Name":"a","Took":5}`,
			`{"Schema":2,"Name":"a","Took":5000000000,"List":null,"ByName":null}`, ""},
		"newest": {2, `{"Schema":2,"Name":"a","Took":5}`,
			`{"Schema":2,"Name":"a","Took":5,"List":null,"ByName":null}`, ""},
		"newer":      {1, `{"Schema":2,"Name":"a"}`, "", "schema 2"},
		"newer form": {1, `{"Schema":2,"Name":{"is":"an object"}}`, "", "schema 2"},
		"step fails": {1, `{"Name":"a"}`, "", "from schema 0 to 1: there is no Title"},
		"invalid":    {0, `{"Took":5}`, "", "no name"},
		"other type": {0, `{"Name":5}`, "", "Name"},
		"cut off":    {0, `{"Name":"a`, "", "unexpected end"},
		"null":       {0, `null`, "", "not a JSON object"},
		"empty":      {0, ``, "", "not a JSON object"},
		"no number":  {2, `{"Schema":"two","Name":"a"}`, "", "Schema"},
		"negative":   {2, `{"Schema":-1,"Name":"a"}`, "", "Schema"},
	} {
		k := things(c.schemas)
		v, err := k.Decode("k", []byte(c.raw))
		if c.err != "" {
			var newer *NewerSchemaError
			if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), c.err) ||
				errors.As(err, &newer) != strings.HasPrefix(name, "newer") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := encoded(t, k, v); got != c.want {
			t.Errorf("%s: %s, not\n%s", name, got, c.want)
		}
	}
}

// open opens the store of a journal with things.
func open(t *testing.T, path string, k ...Registered) *Store {
	t.Helper()
	j, err := journal.Open(path, journal.Options{Format: Format, Reserve: -1})
	must(t, err)
	s, err := Open(t.Context(), j, path, k...)
	must(t, err)
	return s
}

// old makes a journal of format 1 with records of schema 0 and events.
func old(t *testing.T, records map[string]string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := journal.Open(path, journal.Options{Reserve: -1})
	must(t, err)
	must(t, j.Commit(t.Context(), func(tx *journal.Tx) error {
		for key, value := range records {
			tx.Put("oldthing", key, []byte(value))
		}
		tx.Put("name", "n", []byte("a"))
		tx.Put("somebody's", "x", []byte("y"))
		for i := range 3 {
			tx.Append(journal.Event{Type: "container", ID: "a", Action: fmt.Sprint(i)})
		}
		return nil
	}))
	must(t, j.Close())
	return path
}

// contents are all records of a journal, and how many events it has.
func contents(t *testing.T, j Journal) map[string]string {
	t.Helper()
	all := map[string]string{"newest": fmt.Sprint(j.Newest()), "format": fmt.Sprint(j.Format()), "id": j.ID()}
	must(t, j.View(func(s *journal.Snapshot) error {
		return s.All(func(kind, key string, value []byte) error {
			all[kind+"/"+key] = string(value)
			return nil
		})
	}))
	return all
}

// read reads a journal that nobody has open, as the first release does.
func read(t *testing.T, path string, format uint32) map[string]string {
	t.Helper()
	j, err := journal.Open(path, journal.Options{ReadOnly: true, Format: format})
	must(t, err)
	defer j.Close()
	return contents(t, j)
}

var oldThings = map[string]string{"a": `{"Title":"a","Took":5,"New":1}`, "b": `{"Title":"b","Took":7}`, "c": `{`,
	"d": `{"Schema":9}`}

func TestMigrate(t *testing.T) {
	path := old(t, oldThings)
	before := read(t, path, 1)
	names := Text("name", "name")
	s := open(t, path, things(2), names)
	got := contents(t, s)
	want := map[string]string{
		"newest": "3", "format": "2", "id": before["id"], "name/n": "a", "somebody's/x": "y",
		"thing/b": `{"Name":"b","Schema":2,"Took":7000000000}`,
		"thing/a": `{"Name":"a","New":1,"Schema":2,"Took":5000000000}`,
		"thing/c": `{`, "thing/d": `{"Schema":9}`,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not\n%v", got, want)
	}
	found, err := Check(t.Context(), s, []Registered{things(2), names})
	must(t, err)
	if len(found) != 2 {
		t.Errorf("check finds %q", found)
	}
	must(t, s.Close())
	if copied := read(t, path+CopySuffix, 1); !reflect.DeepEqual(copied, before) {
		t.Errorf("the copy has %v, not\n%v", copied, before)
	}
	if _, err := journal.Open(path, journal.Options{ReadOnly: true}); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("the first release: %v", err)
	}
	s = open(t, path, things(2), names) // nothing is left to do
	defer s.Close()
	if again := contents(t, s); !reflect.DeepEqual(again, got) {
		t.Errorf("%v, not\n%v", again, got)
	}
}
