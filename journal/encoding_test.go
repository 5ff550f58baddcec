package journal

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func FuzzDecodeEvent(f *testing.F) {
	f.Add(encodeEvent(nil, Event{}))
	f.Add(encodeEvent(nil, Event{
		Time: time.Unix(1, 2), Type: "container", Action: "die", ID: strings.Repeat("a", 64), Generation: 300,
		Recovered:  true,
		Attributes: map[string]string{"exitCode": "0", "image": "busybox", "name": "x"},
	}))
	f.Add([]byte{})
	f.Add(append(encodeEvent(nil, Event{}), 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := decodeEvent(b)
		if err != nil {
			if !errdefs.IsDataLoss(err) {
				t.Errorf("class of %v", err)
			}
			return
		}
		if again := encodeEvent(nil, e); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which is encoded as %x", b, e, again)
		}
	})
}

func FuzzOpenEvent(f *testing.F) {
	key := eventKey(7)
	f.Add(key, seal(key, encodeEvent(encodeStamp(nil, stamp{1, 2, 3}), Event{})))
	f.Add(key, seal(key, nil))
	f.Add([]byte{1}, []byte{2})
	f.Fuzz(func(t *testing.T, key, sealed []byte) {
		for _, value := range [][]byte{sealed, seal(key, sealed)} {
			if e, err := openEvent(key, value); err == nil && e.Seq != seqOf(key) || err != nil &&
				!errdefs.IsDataLoss(err) {
				t.Errorf("got %+v, %v", e, err)
			}
		}
	})
}

func TestDecodingRefusesEverySpoiledEvent(t *testing.T) {
	whole := encodeEvent(nil, Event{
		Time: time.Unix(5, 0), Type: "container", Action: "die", ID: "abc", Generation: 3,
		Attributes: map[string]string{"a": "1", "b": "2"},
	})
	if _, err := decodeEvent(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := decodeEvent(whole[:n]); !errdefs.IsDataLoss(err) {
			t.Errorf("cut off at %d: %v", n, err)
		}
	}
	for name, b := range map[string][]byte{
		"unknown flag":      append(append(bytes.Clone(whole[:8]), 2), whole[9:]...),
		"more":              append(bytes.Clone(whole), 0),
		"order of keys":     bytes.Replace(whole, []byte("\x01b"), []byte("\x01A"), 1),
		"repeated key":      bytes.Replace(whole, []byte("\x01b"), []byte("\x01a"), 1),
		"padded generation": append(append(bytes.Clone(whole[:9]), 0x83, 0), whole[10:]...),
		"huge count":        append(bytes.Clone(whole[:len(whole)-9]), 0xff, 0xff, 0xff, 0xff, 0x7f),
	} {
		if e, err := decodeEvent(b); !errdefs.IsDataLoss(err) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

func TestAChecksumCoversKeyAndValue(t *testing.T) {
	key := recordKey("n", "k")
	sealed := seal(key, []byte("value"))
	if v, err := unseal(key, sealed); err != nil || string(v) != "value" {
		t.Fatalf("got %q, %v", v, err)
	}
	if _, err := unseal(recordKey("n", "l"), sealed); !errdefs.IsDataLoss(err) {
		t.Errorf("another key: %v", err)
	}
	for i := range sealed {
		spoiled := bytes.Clone(sealed)
		spoiled[i] ^= 0x10
		if _, err := unseal(key, spoiled); !errdefs.IsDataLoss(err) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
}
