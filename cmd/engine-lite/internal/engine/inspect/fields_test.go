package inspect_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/inspect"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/request"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/store"
)

// Each field of a request is kept in the record and shown by inspect, or refused by its
// name. A new field of the API fails here until one of the two is done.
func TestEveryFieldIsKeptOrRefused(t *testing.T) {
	tried := 0
	for _, part := range []struct {
		name string
		of   func(req *container.CreateRequest) reflect.Value
	}{
		{"HostConfig", func(q *container.CreateRequest) reflect.Value { return reflect.ValueOf(q.HostConfig).Elem() }},
		{"HostConfig", func(q *container.CreateRequest) reflect.Value { return reflect.ValueOf(&q.HostConfig.Resources).Elem() }},
		{"Config", func(q *container.CreateRequest) reflect.Value { return reflect.ValueOf(q.Config).Elem() }},
		{"EndpointSettings", func(q *container.CreateRequest) reflect.Value {
			return reflect.ValueOf(q.NetworkingConfig.EndpointsConfig["none"]).Elem()
		}},
	} {
		fields := part.of(emptyRequest()).Type()
		for i := range fields.NumField() {
			name := fields.Field(i).Name
			if fields.Field(i).Anonymous {
				continue // its fields are tried by themselves
			}
			req := emptyRequest()
			fill(part.of(req).Field(i), 0)
			tried++
			switch {
			case part.name == "EndpointSettings" && operational[name]:
			case refused(*req, part.name+"."+name), part.name != "EndpointSettings" && kept(t, req):
			default:
				t.Errorf("%s.%s is neither kept nor refused", part.name, name)
			}
		}
	}
	if tried < 90 {
		t.Errorf("only %d fields were tried", tried)
	}
	if n := reflect.TypeFor[network.NetworkingConfig]().NumField(); n != 1 {
		t.Errorf("NetworkingConfig has %d fields", n)
	}
}

// operational are fields in which the API reports the state of a network. Docker ignores
// them in a request.
var operational = map[string]bool{
	"NetworkID": true, "EndpointID": true, "Gateway": true, "IPAddress": true, "IPPrefixLen": true, "IPv6Gateway": true,
	"GlobalIPv6Address": true, "GlobalIPv6PrefixLen": true, "DNSNames": true,
}

func emptyRequest() *container.CreateRequest {
	return &container.CreateRequest{
		Config: &container.Config{}, HostConfig: &container.HostConfig{},
		NetworkingConfig: &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{"none": {}}},
	}
}

func refused(req container.CreateRequest, field string) bool {
	_, err := request.Check(req, request.Host{})
	return errdefs.IsNotImplemented(err) && strings.Contains(err.Error(), field)
}

// kept is true if a request is unchanged after it was stored in the journal.
func kept(t *testing.T, req *container.CreateRequest) bool {
	t.Helper()
	var c record.Config
	var h record.HostConfig
	stored(t, request.Config(req.Config), &c)
	stored(t, request.HostConfig(req.HostConfig), &h)
	return reflect.DeepEqual(inspect.Config(&c), req.Config) &&
		reflect.DeepEqual(inspect.HostConfig(&h), req.HostConfig)
}

// stored writes a value in its stored form and reads it.
func stored(t *testing.T, from, to any) {
	t.Helper()
	raw, err := store.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Unmarshal(raw, to); err != nil {
		t.Fatal(err)
	}
}

// An empty list and no list are different: clients see [] and null.
func TestEmptyIsNotNone(t *testing.T) {
	req := emptyRequest()
	for _, v := range []reflect.Value{reflect.ValueOf(req.Config).Elem(), reflect.ValueOf(req.HostConfig).Elem(),
		reflect.ValueOf(&req.HostConfig.Resources).Elem()} {
		for i := range v.NumField() {
			f, tag := v.Field(i), v.Type().Field(i).Tag.Get("json")
			switch {
			case strings.HasSuffix(tag, ",omitempty"): // the API shows neither of both
			case f.Kind() == reflect.Slice:
				f.Set(reflect.MakeSlice(f.Type(), 0, 0))
			case f.Kind() == reflect.Map:
				f.Set(reflect.MakeMap(f.Type()))
			}
		}
	}
	if !kept(t, req) || !kept(t, emptyRequest()) {
		t.Error("an empty list or map has become none, or the other way round")
	}
}

// Each field of the engine's own types survives the journal, with unknown fields of a
// newer release. Those of a configuration also survive a client that makes a container
// like another one.
func TestEveryFieldOfARecordIsKept(t *testing.T) {
	for _, v := range []any{new(record.Record), new(record.Exec), new(record.RemovedExit), new(record.Amendment)} {
		fill(reflect.ValueOf(v).Elem(), 0)
		again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
		stored(t, v, again)
		if !reflect.DeepEqual(v, again) {
			t.Errorf("%T: %+v, not %+v", v, again, v)
		}
	}
	r := new(record.Record)
	fill(reflect.ValueOf(r).Elem(), 0)
	forget(reflect.ValueOf(r))
	if got := request.Config(inspect.Config(r.Config)); !reflect.DeepEqual(got, r.Config) {
		t.Errorf("%+v, not %+v", got, r.Config)
	}
	if got := request.HostConfig(inspect.HostConfig(r.HostConfig)); !reflect.DeepEqual(got, r.HostConfig) {
		t.Errorf("%+v, not %+v", got, r.HostConfig)
	}
	x := new(record.ExecRequest)
	fill(reflect.ValueOf(x).Elem(), 0)
	x.Unknown = nil
	in := inspect.Exec(record.Exec{ID: "x", Request: *x}, false, nil)
	if in.ProcessConfig.User != x.User || !in.OpenStdin || !in.ProcessConfig.Tty || !*in.ProcessConfig.Privileged {
		t.Errorf("%+v", in)
	}
}

// TestImageManifest has all fields of a descriptor kept and shown. A new field of OCI's type
// fails here until it is.
func TestImageManifest(t *testing.T) {
	var want ocispec.Descriptor
	fill(reflect.ValueOf(&want).Elem(), 0)
	r := &record.Record{
		Config: &record.Config{}, HostConfig: &record.HostConfig{}, ImageManifest: request.ImageManifest(want, ocispec.Platform{}),
	}
	var again record.Record
	stored(t, r, &again)
	if got := inspect.Container(&again, inspect.Place{}).ImageManifestDescriptor; !reflect.DeepEqual(got, &want) {
		t.Errorf("inspect: %+v, not %+v", got, want)
	}
	if got := inspect.Summary(&again, time.Now(), nil).ImageManifestDescriptor; !reflect.DeepEqual(got, &want) {
		t.Errorf("list: %+v, not %+v", got, want)
	}
	platform := *want.Platform
	want.Platform = nil
	r.ImageManifest = request.ImageManifest(want, platform)
	want.Platform = &platform
	if got := inspect.Container(r, inspect.Place{}).ImageManifestDescriptor; !reflect.DeepEqual(got, &want) {
		t.Errorf("with the platform of the configuration: %+v, not %+v", got, want)
	}
	r.ImageManifest = nil // an older release has made the container
	if inspect.Container(r, inspect.Place{}).ImageManifestDescriptor != nil ||
		inspect.Summary(r, time.Now(), nil).ImageManifestDescriptor != nil {
		t.Error("a container whose manifest is not known is shown with one")
	}
}

// fill sets a value, and all values in it, so that none is empty.
func fill(v reflect.Value, depth int) {
	switch p := v.Addr().Interface().(type) {
	case *store.Unknown:
		*p = store.Unknown(fmt.Sprintf(`{"OfANewerRelease":{"depth":%d}}`, depth))
		return
	case *netip.Addr:
		*p = netip.MustParseAddr("192.0.2.1")
		return
	case *network.Port:
		*p = network.MustParsePort("80/tcp")
		return
	case *time.Time:
		*p = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("80/tcp")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), depth+1)
		}
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, depth+1)
		fill(elem, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), depth+1)
			}
		}
	default:
		v.Set(reflect.ValueOf(7).Convert(v.Type()))
	}
}

// forget clears the fields that keep unknown data.
func forget(v reflect.Value) {
	if p, ok := v.Interface().(store.Unknown); ok && p != nil {
		v.SetZero()
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			forget(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			forget(v.Index(i))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			elem := reflect.New(v.Type().Elem()).Elem()
			elem.Set(v.MapIndex(key))
			forget(elem)
			v.SetMapIndex(key, elem)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				forget(v.Field(i))
			}
		}
	default: // has no values in it
	}
}

// TestInspectAsBefore compares inspect with the answers of the first release about a
// record with all fields set.
func TestInspectAsBefore(t *testing.T) {
	raw := read(t, "everything.json")
	r := new(record.Record)
	if err := store.Unmarshal(raw, r); err != nil {
		t.Fatal(err)
	}
	s := inspect.Summary(r, time.Now(), nil)
	s.Status = ""
	same(t, "everything-list.json", s)
	r.Status = record.StatusExited
	same(t, "everything-inspect.json", inspect.Container(r, inspect.Place{
		Dir: "/ROOT/containers/" + r.ID, LogPath: "/ROOT/containers/" + r.ID + "/" + r.ID + "-json.log",
		Snapshotter: "overlayfs",
	}))
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := readFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func readFile(name string) ([]byte, error) { return os.ReadFile("../testdata/v1/" + name) }

func same(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSuffix(string(read(t, name)), "\n"); string(got) != want {
		t.Errorf("%s was\n%s\nand is\n%s", name, want, got)
	}
}
