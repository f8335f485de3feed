package edptool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
)

// sgxsBuild is sgxs-build. All its errors are panics.
func sgxsBuild(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	ssaFrameSize, blocks, err := parseBlocks(args)
	if err == nil {
		err = buildBlocks(stdout, ssaFrameSize, blocks)
	}
	if err != nil {
		return panicked(stderr, "sgxs-build", err.Error())
	}
	return 0
}

var blockPerms = map[string]sgx.SecInfoFlags{
	"r":   sgx.SecInfoR,
	"rw":  sgx.SecInfoR | sgx.SecInfoW,
	"rx":  sgx.SecInfoR | sgx.SecInfoX,
	"rwx": sgx.SecInfoPerm,
}

// parseBlocks reads the command line. Blocks of data have their name and size,
// but no Data.
func parseBlocks(args []string) (ssaFrameSize uint32, blocks []sgxs.Block, err error) {
	ssaFrameSize = 1
	if len(args) > 0 {
		if v, ok := strings.CutPrefix(args[0], "ssaframesize="); ok {
			n, err := expectUint32(v, "ssaframesize must be a number")
			if err != nil {
				return 0, nil, err
			}
			ssaFrameSize, args = n, args[1:]
		}
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		perm, isPerm := blockPerms[key]
		switch {
		case ok && key == "ssaframesize":
			return 0, nil, errors.New("ssaframesize must be the first argument if specified")
		case ok && key == "tcs":
			v, ok := strings.CutPrefix(value, "nssa:")
			if !ok {
				return 0, nil, errors.New("tcs must be specified as tcs=nssa:N")
			}
			n, err := expectUint32(v, "nssa must be a number")
			if err != nil {
				return 0, nil, err
			}
			blocks = append(blocks, sgxs.Block{Name: arg, NSSA: n})
		case ok && isPerm:
			fi, err := os.Stat(value)
			if err != nil {
				return 0, nil, errors.New(unwrapped(rustError(err)))
			}
			blocks = append(blocks, sgxs.Block{Name: value, Perm: perm, Size: fi.Size(), Data: strings.NewReader("")})
		default:
			return 0, nil, fmt.Errorf("Invalid argument: «%s»", arg)
		}
	}
	return ssaFrameSize, blocks, nil
}

// expectUint32 reads a number; the error is that of Result::expect.
func expectUint32(s, message string) (uint32, error) {
	n, kind := rustUint(s, 32)
	if kind != "" {
		return 0, fmt.Errorf("%s: ParseIntError { kind: %s }", message, kind)
	}
	return uint32(n), nil
}

// buildBlocks opens the files of all blocks, so that one that is missing leaves
// no partial output, and writes the image.
func buildBlocks(stdout io.Writer, ssaFrameSize uint32, blocks []sgxs.Block) error {
	for i := range blocks {
		b := &blocks[i]
		if b.Data == nil || b.Size == 0 {
			continue
		}
		f, err := os.Open(b.Name)
		if err != nil {
			return errors.New(unwrapped(rustError(err)))
		}
		defer f.Close()
		b.Data = f
	}
	_, err := sgxs.Build(stdout, ssaFrameSize, blocks)
	var path *os.PathError
	if errors.As(err, &path) {
		return errors.New(unwrapped(rustError(err)))
	}
	return err
}
