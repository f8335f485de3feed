package wall

// File is a file or a directory of a tree, named by its path from the root, such
// as "src/time/testdata". A nil Data makes a directory.
type File struct {
	Path string
	Data []byte
}

// AppendTree appends the measured form of a file tree, as told at Boot. files are
// sorted so that each directory comes before what is in it; the root comes of
// itself. cwd is the path of the working directory.
func AppendTree(dst []byte, files []File, cwd string) ([]byte, error) {
	index := map[string]uint64{"": 1}
	entries := []FileEntry{{Dir: 1}}
	var content []byte
	start := uint64(16 + FileEntrySize*(1+len(files)))
	put := func(b []byte) uint64 {
		at := start + uint64(len(content))
		content = append(content, b...)
		return at
	}
	for _, f := range files {
		dir, name := split(f.Path)
		parent, ok := index[dir]
		switch {
		case name == "" || len(name) > MaxName || name == "." || name == "..":
			return nil, BootError("a file tree with the name " + f.Path)
		case !ok || entries[parent-1].Dir == 0:
			return nil, BootError("a file tree without the directory of " + f.Path)
		case index[f.Path] != 0:
			return nil, BootError("a file tree with two of " + f.Path)
		}
		e := FileEntry{Parent: parent, NameLen: uint64(len(name))}
		e.Name = put([]byte(name))
		if f.Data == nil {
			e.Dir = 1
		} else {
			e.Data, e.Size = put(f.Data), uint64(len(f.Data))
		}
		entries = append(entries, e)
		index[f.Path] = uint64(len(entries))
	}
	at, ok := index[cwd]
	if !ok || entries[at-1].Dir == 0 {
		return nil, BootError("a file tree without its working directory " + cwd)
	}
	dst = words(dst, uint64(len(entries)), at)
	for _, e := range entries {
		dst = words(dst, e.Parent, e.Dir, e.Name, e.NameLen, e.Data, e.Size)
	}
	return append(dst, content...), nil
}

// MaxName is the longest name of a file in bytes.
const MaxName = 255

func words(dst []byte, w ...uint64) []byte {
	for _, v := range w {
		for i := range 8 {
			dst = append(dst, byte(v>>(8*i)))
		}
	}
	return dst
}

func split(path string) (dir, name string) {
	for i := len(path) - 1; i >= 0; i-- {
		if path[i] == '/' {
			return path[:i], path[i+1:]
		}
	}
	return "", path
}
