package events

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
)

// FuzzRefusal reads arbitrary answers that are no stream. The error has a class, by which
// Consume decides whether to try again.
func FuzzRefusal(f *testing.F) {
	f.Add(410, []byte(`{"message":"gone","journal":"j","oldest":3,"newest":9}`))
	f.Add(410, []byte(`{"oldest":-1}`))
	f.Add(503, []byte("<html>"))
	f.Add(501, []byte(`null`))
	f.Add(404, []byte(`{"message":7}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := refusal(&http.Response{StatusCode: status, Status: "some status",
			Body: io.NopCloser(bytes.NewReader(body))})
		var gone *GoneError
		if errors.As(err, &gone) != (status == http.StatusGone) {
			t.Errorf("%d is %v", status, err)
		}
		if !errdefs.IsOutOfRange(err) && !errdefs.IsUnavailable(err) && !errdefs.IsInvalidArgument(err) {
			t.Errorf("%d, %q: no class: %v", status, body, err)
		}
	})
}

// FuzzFile loads arbitrary files of a cursor. A file holds a position that stays the same
// when it is saved, or it is DataLoss.
func FuzzFile(f *testing.F) {
	f.Add([]byte(`{"journal":"j","seq":7}` + "\n"))
	f.Add([]byte(`{"seq":-1}`))
	f.Add([]byte(`{"seq":18446744073709551616}`))
	f.Add([]byte(`null`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		file := File(filepath.Join(t.TempDir(), "cursor"))
		if err := os.WriteFile(string(file), data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := file.Load(t.Context())
		if err != nil {
			if !errdefs.IsDataLoss(err) {
				t.Errorf("%q: %v", data, err)
			}
			return
		}
		if err := file.Save(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if again, err := file.Load(t.Context()); err != nil || again != p {
			t.Errorf("%q: %+v became %+v, %v", data, p, again, err)
		}
	})
}
