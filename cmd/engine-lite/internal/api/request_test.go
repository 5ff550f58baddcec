package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/filters"
)

func TestFlag(t *testing.T) {
	for s, want := range map[string]bool{
		"": false, "0": false, "no": false, "False": false, " none ": false,
		"1": true, "true": true, "yes": true, "anything": true,
	} {
		r := &request{query: url.Values{"x": {s}}}
		if r.flag("x") != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func TestParseFilters(t *testing.T) {
	for s, want := range map[string]map[string][]string{
		"":                                    {},
		"{}":                                  {},
		`{"label":{"a=b":true,"c":false}}`:    {"label": {"a=b", "c"}},
		`{"label":["z","a"],"name":{}}`:       {"label": {"z", "a"}, "name": nil},
		`{"label":["z"],"name":{"\u0061":1}}`: nil,
		`{"label":null}`:                      {"label": nil},
		`[]`:                                  nil,
		`{"a":["b"]} x`:                       nil,
	} {
		got, err := parseFilters(s)
		if want == nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s: %v, %v", s, got, err)
			}
			continue
		}
		if err != nil || !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	if _, err := parseFilters(strings.Repeat(" ", maxFilter) + "{}"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("long filters: %v", err)
	}
}

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"":                         {},
		"0":                        {},
		"1700000000":               time.Unix(1700000000, 0),
		"1700000000.5":             time.Unix(1700000000, 500000000),
		"1700000000.000000001":     time.Unix(1700000000, 1),
		"1700000000.0000000019":    time.Unix(1700000000, 1),
		"-1.5":                     time.Unix(-2, 500000000),
		"10m":                      now.Add(-10 * time.Minute),
		"1h30m":                    now.Add(-90 * time.Minute),
		"2026-01-02T03:04:05Z":     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.5Z":   time.Date(2026, 1, 2, 3, 4, 5, 5e8, time.UTC),
		"2026-01-02T05:04:05+2:00": {},
		"2026-01-02T05:04+02:00":   time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02":               time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
		"2026-01-02T15":            time.Date(2026, 1, 2, 15, 0, 0, 0, time.Local),
	} {
		got, ok := filters.Moment(s, now)
		if !got.Equal(want) || ok == (want.IsZero() && len(s) > 1) {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"x", "1.x", "1.", "9223372037", "99999999999999999999", "2026-13-01", "1.-5"} {
		if got, ok := filters.Moment(s, now); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestParseAuth(t *testing.T) {
	padded := base64.URLEncoding.EncodeToString([]byte(`{"username":"ü?>","password":"p"}`))
	other := base64.StdEncoding.EncodeToString([]byte(`{"username":"ü?>","password":"p"}`))
	for _, s := range []string{padded, strings.TrimRight(padded, "="), other} {
		auth, err := parseAuth(s)
		if err != nil || auth.Username != "ü?>" || auth.Password != "p" {
			t.Errorf("%s: %+v, %v", s, auth, err)
		}
	}
	for _, s := range []string{"%", "e30x", base64.URLEncoding.EncodeToString([]byte(`[]`))} {
		if auth, err := parseAuth(s); !errdefs.IsInvalidArgument(err) || auth.Username != "" {
			t.Errorf("%s: %+v, %v", s, auth, err)
		}
	}
}

func TestVersions(t *testing.T) {
	if newest.String() != MaxVersion || oldest.String() != MinVersion {
		t.Errorf("%s to %s, promised %s to %s", oldest, newest, MinVersion, MaxVersion)
	}
	for s, served := range map[string]bool{
		"1.24": true, "1.41": true, MaxVersion: true,
		"1.23": false, "1.9": false, "1": false, "1.57": false, "2.0": false, "": false, "x": false, "1.x": false,
	} {
		if v, err := parseVersion(s); (err == nil) != served || err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v, %v", s, v, err)
		}
	}
	if v := (version{1, 41}); !v.before(42) || v.before(41) || (version{2, 0}).before(42) {
		t.Error("versions are compared wrongly")
	}
}

func TestMacAddressMoves(t *testing.T) {
	for path, want := range map[string]string{
		"/v1.43/containers/create": "create[ i [] mine mine=02:00:00:00:00:01 ]",
		"/v1.52/containers/create": "create[ i [] mine  ]",
	} {
		d := newDaemon(t, &fake{})
		d.do(post, path, `{"Image":"i","MacAddress":"02:00:00:00:00:01","HostConfig":{"NetworkMode":"mine"}}`)
		if calls := d.engine.noted(); len(calls) != 1 || calls[0] != want {
			t.Errorf("%s: %v", path, calls)
		}
	}
}

// StartInterval came with API 1.44, and older clients can't mean it.
func TestStartInterval(t *testing.T) {
	for path, want := range map[string]time.Duration{
		"/v1.43/containers/create": 0, "/v1.44/containers/create": time.Second,
	} {
		d := newDaemon(t, &fake{})
		d.do(post, path, `{"Image":"i","Healthcheck":{"Interval":5,"StartInterval":1000000000}}`)
		if h := d.engine.created.Healthcheck; h == nil || h.StartInterval != want || h.Interval != 5 {
			t.Errorf("%s: %+v", path, h)
		}
	}
}

// The umask came with API 1.56: older clients cannot set it, and do not see it.
func TestUmask(t *testing.T) {
	umask := uint32(0)
	for prefix, want := range map[string]bool{"/v1.55": false, "/v1.56": true, "": true} {
		f := &fake{}
		f.inspect.HostConfig = &container.HostConfig{Umask: &umask}
		d := newDaemon(t, f)
		d.do(post, prefix+"/containers/create", `{"Image":"i","HostConfig":{"Umask":0}}`)
		if got := d.engine.created.HostConfig.Umask; (got != nil) != want {
			t.Errorf("%s: created with %v", prefix, got)
		}
		if a := d.do(get, prefix+"/containers/c/json", ""); strings.Contains(a.body, `"Umask":0`) != want {
			t.Errorf("%s: %s", prefix, a.body)
		}
		if f.inspect.HostConfig.Umask == nil {
			t.Errorf("%s: the engine's own answer has changed", prefix)
		}
	}
}

// TestMountsOfOldClients drops or refuses what mounts have in newer versions only.
func TestMountsOfOldClients(t *testing.T) {
	create := func(d *daemon, prefix, mount string) answer {
		return d.do(post, prefix+"/containers/create", `{"Image":"i","HostConfig":{"VolumeDriver":"x","Mounts":[`+mount+`]}}`)
	}
	for prefix, want := range map[string][3]bool{
		"/v1.39": {false, false, true}, "/v1.40": {true, false, true}, "/v1.43": {true, true, true}, "": {true, true, false},
	} {
		d := newDaemon(t, &fake{})
		create(d, prefix, `{"Type":"bind","BindOptions":{"NonRecursive":true,"CreateMountpoint":true}}`)
		o := d.engine.created.HostConfig.Mounts[0].BindOptions
		if got := [3]bool{o.NonRecursive, o.CreateMountpoint, d.engine.options.ReadOnlyNonRecursive}; got != want {
			t.Errorf("%s: %v, not %v", prefix, got, want)
		}
	}
	for _, c := range []struct{ old, since, mount, says string }{
		{"", "", `{"Type":"bind","VolumeOptions":{}}`, `VolumeOptions must not be specified on mount type "bind"`},
		{"", "/v1.41", `{"Type":"volume","BindOptions":{}}`,
			`BindOptions must not be specified on mount type "volume"`},
		{"/v1.42", "/v1.41", `{"Type":"bind","TmpfsOptions":{}}`,
			`TmpfsOptions must not be specified on mount type "bind"`},
		{"/v1.43", "/v1.44", `{"Type":"bind","BindOptions":{"ReadOnlyForceRecursive":true}}`,
			"BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"},
		{"/v1.44", "/v1.45", `{"Type":"volume","VolumeOptions":{"Subpath":"a"}}`,
			"VolumeOptions.Subpath needs API v1.45 or newer"},
		{"/v1.47", "/v1.48", `{"Type":"image"}`, `Mount type "Image" needs API v1.48 or newer`},
	} {
		d := newDaemon(t, &fake{})
		if a := create(d, c.old, c.mount); a.status != 400 || !strings.Contains(strings.ReplaceAll(a.body, `\"`, `"`), c.says) {
			t.Errorf("%s %s: %d %s", c.old, c.mount, a.status, a.body)
		}
		if a := create(d, c.since, c.mount); c.since != "" && a.status != 201 {
			t.Errorf("%s %s: %d %s", c.since, c.mount, a.status, a.body)
		}
	}
	for prefix, warns := range map[string]bool{"/v1.47": false, "/v1.48": true} {
		a := create(newDaemon(t, &fake{}), prefix, `{"Type":"volume"}`)
		if strings.Contains(a.body, "container-wide volume-driver") != warns {
			t.Errorf("%s: %s", prefix, a.body)
		}
	}
}

// Before some versions, Docker passed over some limits in an update.
func TestUpdateOfOldClients(t *testing.T) {
	for prefix, want := range map[string]int{"/v1.39": 0, "/v1.40": 1, "/v1.54": 1, "/v1.55": 6, "": 6} {
		d := newDaemon(t, &fake{})
		const rates = `[{"Path":"/dev/x","Rate":1}]`
		d.do(post, prefix+"/containers/c/update", `{"Memory":1,"PidsLimit":5,"BlkioWeightDevice":[{"Path":"/dev/x","Weight":10}],`+
			`"BlkioDeviceReadBps":`+rates+`,"BlkioDeviceWriteBps":`+rates+`,"BlkioDeviceReadIOps":`+rates+`,"BlkioDeviceWriteIOps":`+rates+`}`)
		u := d.engine.updated
		got := len(u.BlkioWeightDevice) + len(u.BlkioDeviceReadBps) + len(u.BlkioDeviceWriteBps) + len(u.BlkioDeviceReadIOps) + len(u.BlkioDeviceWriteIOps)
		if u.PidsLimit != nil {
			got++
		}
		if got != want || u.Memory != 1 {
			t.Errorf("%s: %d limits of %+v", prefix, got, u)
		}
	}
}

func FuzzParseFilters(f *testing.F) {
	f.Add(`{"label":{"a=b":true}}`)
	f.Add(`{"label":["a",null],"b":{"c":false}}`)
	f.Add(`{"a":1}`)
	f.Fuzz(func(t *testing.T, s string) {
		filters, err := parseFilters(s)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%v", err)
			}
			return
		}
		b, err := json.Marshal(filters)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseFilters(string(b))
		if err != nil || !maps.EqualFunc(filters, again, slices.Equal) {
			t.Errorf("%v became %v, %v", filters, again, err)
		}
	})
}

func FuzzParseMoment(f *testing.F) {
	for _, s := range []string{
		"", "0", "1.5", "-1.5", "10m", "2026-01-02T03:04:05Z", "2026-01-02", "1e9", "9223372035.999999999",
	} {
		f.Add(s)
	}
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := filters.Moment(s, now)
		if !ok || got.IsZero() || strings.ContainsFunc(s, func(r rune) bool { return r > '9' }) {
			return
		}
		if sec, err := strconv.ParseInt(s, 10, 64); err == nil && got.Unix() != sec {
			t.Errorf("%q is %v", s, got)
		}
	})
}

func FuzzParseAuth(f *testing.F) {
	f.Add("e30=")
	f.Add(base64.URLEncoding.EncodeToString([]byte(`{"username":"u","identitytoken":"t"}`)))
	f.Fuzz(func(t *testing.T, s string) {
		if _, err := parseAuth(s); err != nil && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzCreateBody(f *testing.F) {
	f.Add([]byte(`{"Image":"i","Cmd":["a"],"Tty":true,` +
		`"HostConfig":{"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]},"Dns":["127.0.0.1"]}}`))
	f.Add([]byte(`{"NetworkingConfig":{"EndpointsConfig":{"a":{"MacAddress":"02:00:00:00:00:01"}}},` +
		`"MacAddress":"x","ExposedPorts":{"1-2/udp":{}}}`))
	f.Add([]byte(`{"Healthcheck":{"Test":["CMD"],"Interval":-1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var body createRequest
		if err := decodeJSON(bytes.NewReader(b), &body); err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%v", err)
			}
			return
		}
		if _, err := encodeJSON(body); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	})
}

func FuzzPattern(f *testing.F) {
	f.Add("GET", "/images/a/b/json")
	f.Add("POST", "//containers//x//start//")
	table := newTable(allRoutes())
	f.Fuzz(func(t *testing.T, method, path string) {
		handle, name, allow, err := table.find(method, segments(path))
		if (handle == nil) == (err == nil) || handle != nil && allow != nil {
			t.Errorf("%s %s: %q %v %v", method, path, name, allow, err)
		}
	})
}

// FuzzEventsOptions reads where an event stream is to begin and end, from the query
// and from the header with which a browser comes back.
func FuzzEventsOptions(f *testing.F) {
	f.Add("since=1&until=2", "", "")
	f.Add("cursor=7&journal=j", "application/x-ndjson;q=0.5, text/event-stream", "9")
	f.Add("cursor=-1", "text/event-stream", "18446744073709551616")
	f.Add("since=9&cursor=1&filters=%7B%7D", ";;,q=x;q=NaN", "")
	f.Add("since=5&until=2026-01-02", "text/event-stream;q=NaN", " 1")
	f.Fuzz(func(t *testing.T, query, accept, last string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		for _, v := range []version{oldest, newest} {
			media := eventsType(v, accept)
			if _, _, err := mime.ParseMediaType(media); err != nil {
				t.Errorf("%q: media type %q", accept, media)
			}
			header := http.Header{"Last-Event-Id": {last}}
			r := &request{Request: &http.Request{Header: header}, version: v, query: values}
			o, err := r.eventsOptions(media)
			if err != nil {
				if !errdefs.IsInvalidArgument(err) {
					t.Errorf("%q: %v", query, err)
				}
				continue
			}
			if o.After != nil && !o.Since.IsZero() || !o.Until.IsZero() && o.Until.Before(o.Since) {
				t.Errorf("%q: %+v", query, o)
			}
		}
	})
}

// FuzzParseVersion takes only what is served.
func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{
		"1.41", "1", "1.", ".1", "1.53", "+1.+41", "1.-1", "2", "1.41.2", "99999999999999999999",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVersion(s)
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if v.compare(oldest) < 0 || v.compare(newest) > 0 {
			t.Errorf("%q is %v", s, v)
		}
	})
}

// TestBooleans has the values that docker-py and others send.
func TestBooleans(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "0": false, "no": false, "No": false, "false": false, "False": false, "none": false, "None": false,
		"1": true, "true": true, "True": true, "yes": true, "2": true,
	} {
		r := &request{query: url.Values{"x": {value}}}
		if got := r.flag("x"); got != want {
			t.Errorf("%q is %t", value, got)
		}
		if err := r.without("x"); errdefs.IsNotImplemented(err) != want {
			t.Errorf("%q of a parameter that the engine does not have: %v", value, err)
		}
	}
}
