package eos

import "encoding/binary"

// Get returns the value under a key of the app's own store, or ErrNotFound.
func Get(key string) ([]byte, error) { return output(kvGet(key)) }

// Put stores a value under a key. When it returns, the value is durable.
func Put[T ~string | ~[]byte](key string, value T) error { return done(kvPut(key, string(value))) }

// Delete deletes a key and reports whether there was one.
func Delete(key string) (bool, error) { return yes(kvDelete(key)) }

// List returns the keys that begin with prefix and stand behind after, in the
// order of their bytes, at most limit of them, or 1000 for 0.
func List(prefix, after string, limit int) ([]string, error) {
	b, err := output(kvList(prefix, after, int32(limit)))
	if err != nil {
		return nil, err
	}
	var keys []string
	for len(b) >= 4 {
		n := binary.LittleEndian.Uint32(b)
		if b = b[4:]; uint64(n) > uint64(len(b)) {
			return nil, ErrInvalid
		}
		keys, b = append(keys, string(b[:n])), b[n:]
	}
	return keys, nil
}
