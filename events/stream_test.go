package events

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestStream(t *testing.T) {
	one := `{"status":"die","Type":"container","Action":"die","Actor":{"ID":"c","Attributes":{"exitCode":"7"}},` +
		`"time":1,"timeNano":1000000002,"seq":9,"generation":3,"recovered":true}`
	s := newStream(strings.NewReader(":\n\n:\nid: 8\n\nretry: 5\nid: 9\ndata: "+one+
		"\n\nid: 9\ndata:{\"Type\":\ndata:\"t\",\"seq\":10}\n\ndata: {}\n\n"), func() {})
	want := []Event{
		{Seq: 9, Type: "container", Action: "die", ID: "c", Attributes: map[string]string{"exitCode": "7"},
			Time: time.Unix(1, 2), Generation: 3, Recovered: true},
		{Seq: 10, Type: "t", Time: time.Unix(0, 0)},
	}
	for _, w := range want {
		if e, err := s.next(); err != nil || !reflect.DeepEqual(e, w) {
			t.Errorf("%+v, %v", e, err)
		}
	}
	if _, err := s.next(); !errdefs.IsDataLoss(err) {
		t.Errorf("without a number: %v", err)
	}
	if _, err := s.next(); !errdefs.IsUnavailable(err) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at the end: %v", err)
	}
}

// FuzzStream reads arbitrary streams. Each read returns an event, or an error with a class.
func FuzzStream(f *testing.F) {
	f.Add([]byte("id: 1\ndata: {\"seq\":1}\n\n"))
	f.Add([]byte(":\n\ndata: [\n\n"))
	f.Add([]byte("data\ndata:\n\ndata: {\"seq\":-1}\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newStream(bytes.NewReader(data), func() {})
		for {
			e, err := s.next()
			switch {
			case errdefs.IsUnavailable(err):
				return
			case err == nil && e.Seq == 0:
				t.Error("an event without a number")
			case err != nil && !errdefs.IsDataLoss(err):
				t.Error(err)
			}
		}
	})
}
