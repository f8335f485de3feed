package kernel

// The virtual files. A file is a constant text; there is nothing else to open.
type file struct{ path, text string }

// Names resolve by way of the host: the answer to a connection to this server is
// its, and untrusted like the network. Over TCP, because there is no UDP.
var files = [...]file{
	{"/etc/resolv.conf", "# The host resolves names. It may lie.\nnameserver 127.0.0.53\noptions use-vc\n"},
	{"/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
	{"/etc/nsswitch.conf", "hosts: files dns\n"},
}

// pathIs compares a NUL-terminated string of the program's.
func pathIs(p uint64, s string) bool {
	for i := 0; i < len(s); i++ {
		if *at[byte](p + uint64(i)) != s[i] {
			return false
		}
	}
	return *at[byte](p + uint64(len(s))) == 0
}

// lookup finds what a path names.
func lookup(path uint64) (kind uint8, obj uint32) {
	for i := range files {
		if pathIs(path, files[i].path) {
			return fdFile, uint32(i)
		}
	}
	switch {
	case pathIs(path, "/dev/null"):
		return fdNull, 0
	case pathIs(path, "/dev/urandom"), pathIs(path, "/dev/random"):
		return fdRandom, 0
	case pathIs(path, rpcPath):
		return fdRPC, 0
	}
	return fdFree, 0
}

const (
	oCREAT     = 0x40
	oTRUNC     = 0x200
	oDIRECTORY = 0x10000
)

func openat(dir, path, flags, mode uint64) uint64 {
	kind, obj := lookup(path)
	switch {
	case kind == fdFree && tree.nodes != 0:
		return treeOpen(dir, path, flags, mode)
	case kind == fdFree && flags&oCREAT != 0:
		return errROFS
	case kind == fdFree:
		return errNoEnt
	case flags&oDIRECTORY != 0:
		return errNotDir
	case kind == fdFile && flags&(oACCMODE|oTRUNC) != oRDONLY:
		return errROFS
	case kind == fdRPC:
		return rpcOpen()
	}
	return fdNew(kind, uint32(flags)&(oACCMODE|oNONBLOCK), obj)
}

func fileSize(obj uint32) uint64 { return uint64(len(files[obj].text)) }

func fileRead(obj uint32, off, p, size uint64) uint64 {
	text := files[obj].text
	if off >= uint64(len(text)) || size == 0 {
		return 0
	}
	return uint64(copy(span(p, size), text[off:]))
}

// The modes of struct stat.
const (
	modeFIFO   = 0o010600
	modeChar   = 0o020666
	modeFile   = 0o100444
	modeSocket = 0o140600
)

// stat is struct stat: what os.File wants to know of it.
func stat(kind uint8, obj uint32, buf uint64) uint64 {
	zero(buf, 144)
	if kind == fdNode {
		return nodeStat(obj, buf)
	}
	mode, size := uint32(modeChar), uint64(0)
	switch kind {
	case fdFile:
		mode, size = modeFile, fileSize(obj)
	case fdStdin, fdStdout, fdStderr, fdEpoll, fdEvent, fdPipeOut, fdPipeIn, fdRPC:
		mode = modeFIFO
	case fdSocket, fdLink:
		mode = modeSocket
	}
	*at[uint64](buf) = 1                                      // st_dev
	*at[uint64](buf + 8) = uint64(kind)<<32 | uint64(obj) + 1 // st_ino
	*at[uint64](buf + 16) = 1                                 // st_nlink
	*at[uint32](buf + 24) = mode
	*at[uint64](buf + 48) = size
	*at[uint64](buf + 56) = pageSize // st_blksize
	return 0
}

const atEmptyPath = 0x1000

func fstatat(dir, path, buf, flags uint64) uint64 {
	if flags&atEmptyPath != 0 && pathIs(path, "") {
		return fstat(dir, buf)
	}
	kind, obj := lookup(path)
	switch {
	case kind == fdFree && tree.nodes != 0:
		return treeStat(dir, path, buf)
	case kind == fdFree:
		return errNoEnt
	}
	return stat(kind, obj, buf)
}

func fstat(n, buf uint64) uint64 {
	d := fdAt(n)
	if d == nil {
		return errBadF
	}
	return stat(d.kind, d.obj, buf)
}

func access(dir, path uint64) uint64 {
	kind, _ := lookup(path)
	switch {
	case kind == fdFree && tree.nodes != 0:
		return treeAccess(dir, path)
	case kind == fdFree:
		return errNoEnt
	}
	return 0
}

// getcwd: without a tree everything is in the root.
func getcwd(buf, size uint64) uint64 {
	if tree.nodes != 0 {
		return treePath(buf, size)
	}
	if size < 2 {
		return errRange
	}
	*at[byte](buf), *at[byte](buf + 1) = '/', 0
	return 2
}

// uname is struct utsname: six fields of 65 bytes.
func uname(buf uint64) uint64 {
	zero(buf, 6*65)
	for i, s := range [...]string{"Linux", "enclave", "6.0.0", "eos", "x86_64"} {
		copy(span(buf+uint64(i)*65, 64), s)
	}
	return 0
}
