package wire

import (
	"errors"
	"fmt"
	"testing"

	"github.com/containerd/errdefs"
)

// TestRefusal carries an error of each class over the wire.
func TestRefusal(t *testing.T) {
	t.Parallel()
	for _, c := range codes {
		err := Refusal(fmt.Errorf("no: %w", c.class)).Err()
		if !errors.Is(err, c.class) || err.Error() != "no: "+c.class.Error() {
			t.Errorf("%s became %v", c.code, err)
		}
	}
	if err := Refusal(errors.New("no")).Err(); !errdefs.IsUnknown(err) || err.Error() != "no" {
		t.Errorf("an error without a class became %v", err)
	}
	if err := (Answer{Code: "new"}).Err(); !errdefs.IsUnknown(err) {
		t.Errorf("a class of a newer keeper became %v", err)
	}
}

// FuzzDecodeAnswer reads answers that are none.
func FuzzDecodeAnswer(f *testing.F) {
	f.Add([]byte(`{"id":1,"code":"not-found","error":"x","exits":[{"seq":1}],"held":[{"key":"a"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := DecodeAnswer(data)
		if err == nil && (a.Err() == nil) != (a.Code == "") {
			t.Errorf("answer %+v has the error %v", a, a.Err())
		}
	})
}
