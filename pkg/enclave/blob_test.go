package enclave

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
)

func exampleBlob() *Blob {
	return &Blob{
		Policy: sgx.PolicyMRSigner | sgx.PolicyConfigID, ISVProdID: 0x102, ISVSVN: 0x304, ConfigSVN: 0x506,
		Flags: sgx.AttrInit | sgx.AttrDebug, CPUSVN: [16]byte{1, 15: 2}, Identity: sgx.Measurement{3, 31: 4},
		KeyID: [32]byte{5, 31: 6}, Nonce: [12]byte{7, 11: 8}, Ciphertext: []byte("text"), Tag: [16]byte{9, 15: 10},
	}
}

func TestBlobCodec(t *testing.T) {
	b := exampleBlob()
	raw, err := b.AppendBinary([]byte("before"))
	if err != nil {
		t.Fatal(err)
	}
	raw = raw[len("before"):]
	got, err := ParseBlob(raw)
	if err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("%+v, %v", got, err)
	}
	want := []byte("EOSSEAL\x01" + "\x0a\x00" + "\x02\x01" + "\x04\x03" + "\x06\x05" + "\x03\x00\x00\x00\x00\x00\x00\x00")
	if !bytes.HasPrefix(raw, want) || string(raw[116:124]) != "\x04\x00\x00\x00text" {
		t.Errorf("% x", raw)
	}
	for n := range raw {
		if _, err := ParseBlob(raw[:n]); !isBlobError(err) {
			t.Errorf("%d bytes of %d: %v", n, len(raw), err)
		}
	}
	if _, err := ParseBlob(append(bytes.Clone(raw), 0)); !isBlobError(err) {
		t.Errorf("one byte too many: %v", err)
	}
}

func isBlobError(err error) bool {
	var b *BlobError
	return errors.As(err, &b)
}

func TestBadBlobs(t *testing.T) {
	good, err := exampleBlob().AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(b []byte)
		off    int
	}{
		"magic":           {func(b []byte) { b[0] = 'e' }, 0},
		"version 0":       {func(b []byte) { b[7] = 0 }, 7},
		"version 2":       {func(b []byte) { b[7] = 2 }, 7},
		"no policy":       {func(b []byte) { b[8] = 0 }, 8},
		"both policies":   {func(b []byte) { b[8] = 3 }, 8},
		"unknown policy":  {func(b []byte) { b[9] = 1 }, 8},
		"CONFIGSVN":       {func(b []byte) { b[8] = 2 }, 14},
		"not initialised": {func(b []byte) { b[16] = 2 }, 16},
		"flag of no key":  {func(b []byte) { b[16] |= 0x10 }, 16},
		"no identity":     {func(b []byte) { clear(b[40:72]) }, 40},
		"length":          {func(b []byte) { b[116]++ }, 116},
		"huge length":     {func(b []byte) { le.PutUint32(b[116:], math.MaxUint32) }, 116},
	} {
		b := bytes.Clone(good)
		c.change(b)
		_, err := ParseBlob(b)
		var e *BlobError
		if !errors.As(err, &e) || e.Off != c.off {
			t.Errorf("%s: %v, want offset %d", name, err, c.off)
		}
	}
	if b, err := new(Blob).AppendBinary(nil); !isBlobError(err) || b != nil {
		t.Errorf("the zero Blob: % x, %v", b, err)
	}
}

func FuzzParseBlob(f *testing.F) {
	good, err := exampleBlob().AppendBinary(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:Overhead])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBlob(raw)
		if err != nil {
			if b != nil || !isBlobError(err) {
				t.Fatalf("%v, %v", b, err)
			}
			return
		}
		again, err := b.AppendBinary(nil)
		if err != nil || !bytes.Equal(raw, again) {
			t.Fatalf("% x comes back as % x, %v", raw, again, err)
		}
	})
}
