package logdriver

import (
	"os"
	"strings"
	"testing"

	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/logs"
	"github.com/engine-lite/engine-lite/cmd/engine-lite/internal/engine/record"
)

func newRecord(driver string, options map[string]string) *record.Record {
	return &record.Record{
		ID: strings.Repeat("ab", 32), Name: "web", Path: "sh", Args: []string{"-c", "true"}, Image: "sha256:" + strings.Repeat("cd", 32),
		Config: &record.Config{
			Image: "busybox:1", Labels: map[string]string{"a.x": "1", "a.y": "<2>", "b": "3"},
			Env: []string{"PATH=/bin", "LANG=C=D", "EMPTY=", "none"},
		},
		HostConfig: &record.HostConfig{LogConfig: record.LogConfig{Type: driver, Config: options}},
	}
}

func TestOpen(t *testing.T) {
	type options = map[string]string
	path := "/dir/" + strings.Repeat("ab", 32) + "-json.log"
	local := "/dir/local-logs/container.log"
	for name, c := range map[string]struct {
		driver  string
		options options
		want    logs.Log
		err     string
	}{
		"none":               {None, options{"max-size": "x"}, logs.Log{}, ""},
		"json-file":          {JSONFile, nil, logs.Log{Path: path, MaxFiles: 1}, ""},
		"size":               {JSONFile, options{"max-size": "10k"}, logs.Log{Path: path, MaxSize: 10_000, MaxFiles: 1}, ""},
		"files, no size":     {JSONFile, options{"max-file": "3"}, logs.Log{Path: path, MaxFiles: 3}, ""},
		"all":                {JSONFile, options{"max-file": "3", "max-size": "1g", "compress": "1"}, logs.Log{Path: path, MaxSize: 1e9, MaxFiles: 3, Compress: true}, ""},
		"wrong size":         {JSONFile, options{"max-size": "x"}, logs.Log{}, "invalid size: 'x'"},
		"no size":            {JSONFile, options{"max-size": "0"}, logs.Log{}, "max-size must be a positive number"},
		"wrong files":        {JSONFile, options{"max-file": "x"}, logs.Log{}, `strconv.Atoi: parsing "x": invalid syntax`},
		"no files":           {JSONFile, options{"max-file": "0"}, logs.Log{}, "max-file cannot be less than 1"},
		"wrong compress":     {JSONFile, options{"compress": "x"}, logs.Log{}, `strconv.ParseBool: parsing "x": invalid syntax`},
		"compress one":       {JSONFile, options{"compress": "true", "max-size": "1k"}, logs.Log{}, "compress cannot be true when max-file is less than 2 or max-size is not set"},
		"compress unbounded": {JSONFile, options{"compress": "true", "max-file": "2"}, logs.Log{}, "compress cannot be true when max-file is less than 2 or max-size is not set"},
		"expression":         {JSONFile, options{"labels-regex": "["}, logs.Log{}, "error parsing regexp: missing closing ]: `[`"},
		"tag":                {JSONFile, options{"tag": "{{.Nope}}"}, logs.Log{}, "can't evaluate field Nope"},
		"local":              {Local, nil, logs.Log{Path: local, MaxSize: 20 << 20, MaxFiles: 5, Compress: true}, ""},
		"local, all":         {Local, options{"max-file": "0", "max-size": "0", "compress": "false"}, logs.Log{Path: local, MaxSize: 1}, ""},
		"local, size":        {Local, options{"max-size": "x"}, logs.Log{}, "invalid value for max-size: x: invalid size: 'x'"},
		"local, files":       {Local, options{"max-file": "x"}, logs.Log{}, `invalid value for max-file: x: strconv.Atoi: parsing "x": invalid syntax`},
		"local, compress":    {Local, options{"compress": "x"}, logs.Log{}, `invalid boolean value for compress: strconv.ParseBool: parsing "x": invalid syntax`},
		"local, one file":    {Local, options{"max-file": "1"}, logs.Log{}, "compression cannot be enabled when max file count is 1"},
		"local, negative":    {Local, options{"max-file": "-1"}, logs.Log{}, "max-file must not be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord(c.driver, c.options)
			got, err := Open(r, "/dir")
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || got.MaxSize != 0 || got.Path != Path(r, "/dir") {
					t.Errorf("%+v, %v, want %s", got, err, c.err)
				}
				return
			}
			if err != nil || got.Path != c.want.Path || got.MaxSize != c.want.MaxSize || got.MaxFiles != c.want.MaxFiles || got.Compress != c.want.Compress {
				t.Errorf("%+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

func TestBuffer(t *testing.T) {
	for want, options := range map[int64]map[string]string{
		0: {"mode": "blocking"}, 1_000_000: {"mode": "non-blocking"}, 2 << 20: {"mode": "non-blocking", "max-buffer-size": "2m"},
		1: {"mode": "non-blocking", "max-buffer-size": "0"},
	} {
		for _, driver := range []string{JSONFile, Local} {
			if l, err := Open(newRecord(driver, options), "/dir"); err != nil || l.Buffer != want {
				t.Errorf("%s, %v: %d, %v", driver, options, l.Buffer, err)
			}
		}
	}
}

func TestAttributes(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for want, options := range map[string]map[string]string{
		"":                                    {"labels": "", "env": "nope", "tag": ""},
		`{"a.x":"1","b":"3"}`:                 {"labels": "b,a.x,nope"},
		`{"a.x":"1","a.y":"\u003c2\u003e"}`:   {"labels-regex": `^a\.`},
		`{"EMPTY":"","LANG":"C=D"}`:           {"env": "EMPTY,none", "env-regex": "^L"},
		`{"b":"3","tag":"web"}`:               {"labels": "b", "tag": "{{.Name}}"},
		`{"tag":"abababababab/cdcdcdcdcdcd"}`: {"tag": "{{.ID}}/{{.ImageID}}"},
		`{"tag":"busybox:1 sh -c true"}`:      {"tag": "{{.ImageName}} {{.Command}}"},
		`{"tag":"` + host + ` docker"}`:       {"tag": "{{.Hostname}} {{.DaemonName}}"},
		`{"tag":"WEB  3 w"}`:                  {"tag": `{{upper .Name}} {{pad (index .ContainerLabels "b") 1 1}}{{truncate .Name 1}}`},
		`{"tag":"\"web\" Web"}`:               {"tag": `{{json .Name}} {{title .Name}}`},
	} {
		l, err := Open(newRecord(JSONFile, options), "/dir")
		if err != nil || string(l.Attrs) != want {
			t.Errorf("%v: %s, %v, want %s", options, l.Attrs, err, want)
		}
	}
}

func TestShownPath(t *testing.T) {
	for driver, want := range map[string]string{
		JSONFile: "/dir/" + strings.Repeat("ab", 32) + "-json.log", Local: "", None: "",
	} {
		if got := ShownPath(newRecord(driver, nil), "/dir"); got != want {
			t.Errorf("%s: %s, want %s", driver, got, want)
		}
	}
}
