package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
	"github.com/enclaveos/eos/pkg/enclave"
)

var le = binary.LittleEndian

// KeySize is the size of the master key and of those that Key derives, in bytes.
const KeySize = 32

// MaxConfig bounds the configuration as it is sealed, in bytes.
const MaxConfig = kvwire.MaxFile - enclave.Overhead

// maxName bounds the name of a section, in bytes.
const maxName = 64

// version is that of the text that this package writes.
const version = 1

// migrations turn the text of a version, without the number, into that of the next one.
// An older configuration goes through all of them when it is opened, and is written as
// the newest the next time that it is replaced.
var migrations = map[uint32]func([]byte) ([]byte, error){}

// config is the sealed configuration.
type config struct {
	generation uint64
	master     [KeySize]byte
	sections   map[string][]byte
}

// VersionError says that a configuration was sealed by a version of the runtime that
// this one does not know.
type VersionError struct{ Version uint32 }

func (e *VersionError) Error() string {
	return fmt.Sprintf("sealed configuration: version %d, this runtime knows 1 to %d", e.Version, version)
}

var errText = errors.New("sealed configuration: it opens, but is not of this format")

func (c *config) append(b []byte) ([]byte, error) {
	b = le.AppendUint64(le.AppendUint32(b, version), c.generation)
	b = append(b, c.master[:]...)
	b = le.AppendUint32(b, uint32(len(c.sections)))
	for _, name := range slices.Sorted(maps.Keys(c.sections)) {
		if err := checkName(name); err != nil {
			return nil, err
		}
		content := c.sections[name]
		if len(content) > MaxConfig {
			return nil, errTooLarge
		}
		b = append(append(b, byte(len(name))), name...)
		b = append(le.AppendUint32(b, uint32(len(content))), content...)
	}
	if len(b) > MaxConfig {
		return nil, errTooLarge
	}
	return b, nil
}

var errTooLarge = fmt.Errorf("sealed configuration: all sections together have at most %d bytes", MaxConfig)

func checkName(name string) error {
	ok := len(name) > 0 && len(name) <= maxName
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	}
	if !ok {
		return fmt.Errorf("sealed configuration: %q is no name of a section: 1 to %d of a-z, 0-9, '-', '_' and '.'", name, maxName)
	}
	return nil
}

// parse reads a text of any version.
func parse(b []byte) (*config, error) {
	if len(b) < 4 {
		return nil, errText
	}
	v := le.Uint32(b)
	for b = b[4:]; v != version; v++ {
		migrate := migrations[v]
		if migrate == nil {
			return nil, &VersionError{v}
		}
		var err error
		if b, err = migrate(b); err != nil {
			return nil, fmt.Errorf("sealed configuration: from version %d to %d: %w", v, v+1, err)
		}
	}
	const fixed = 8 + KeySize + 4
	if len(b) < fixed {
		return nil, errText
	}
	c := &config{generation: le.Uint64(b), master: [KeySize]byte(b[8:]), sections: make(map[string][]byte)}
	n := le.Uint32(b[8+KeySize:])
	b = b[fixed:]
	take := func(n uint64) []byte {
		if n > uint64(len(b)) {
			b = nil
			return nil
		}
		t := b[:n:n]
		b = b[n:]
		return t
	}
	last := ""
	for i := range n {
		size := take(1)
		if size == nil {
			return nil, errText
		}
		name := string(take(uint64(size[0])))
		length := take(4)
		if length == nil || checkName(name) != nil || i > 0 && name <= last {
			return nil, errText
		}
		content := take(uint64(le.Uint32(length)))
		if content == nil {
			return nil, errText
		}
		c.sections[name], last = content, name
	}
	if len(b) > 0 {
		return nil, errText
	}
	return c, nil
}
