package store

import (
	"reflect"
	"testing"
)

// FuzzDecode reads rubbish: it never panics, and what can be read says the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	for _, raw := range []string{
		`{"Name":"a","Took":5,"List":[{"N":1,"More":{"x":1}}],"ByName":{"m":{"N":3}},"Pointer":{"N":4},"New":1}`,
		`{"Schema":1,"Name":"a","Took":5}`, `{"Title":"a","Took":5,"Title":"b"}`, `{"Schema":3,"Name":"a"}`,
		`{"Name":"\ud800"}`, "{", "null", "",
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for schemas := range 3 {
			k := things(schemas)
			v, err := k.Decode("k", raw)
			k.raise(raw)
			if err != nil {
				continue
			}
			written, err := k.Encode(v)
			if err != nil {
				t.Fatalf("%q: %v", raw, err)
			}
			again, err := k.Decode("k", written)
			if err != nil {
				t.Fatalf("%q, written as %q: %v", raw, written, err)
			}
			twice, err := k.Encode(again)
			if err != nil || string(twice) != string(written) || again.Name != v.Name ||
				!reflect.DeepEqual(again.List, v.List) && len(v.List) == 0 {
				t.Errorf("%q, %q, %q: %v", raw, written, twice, err)
			}
		}
	})
}
