// A command that asks for WASI preview 1 as its description and wasi-libc have it, and
// says what is otherwise. Its files are gone at its end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

static const __wasi_fd_t root = 3;
static int asked, failed;

static void is(int line, const char *what, long long have, long long want) {
	asked++;
	if (have != want) {
		failed++;
		printf("line %d: %s: %lld, not %lld\n", line, what, have, want);
	}
}

#define OK(call) is(__LINE__, #call, call, 0)
#define FAILS(errno, call) is(__LINE__, #call, call, __WASI_ERRNO_##errno)
#define IS(want, have) is(__LINE__, #have, (long long)(have), (long long)(want))

enum { CREAT = __WASI_OFLAGS_CREAT, EXCL = __WASI_OFLAGS_EXCL, TRUNC = __WASI_OFLAGS_TRUNC, DIRECTORY = __WASI_OFLAGS_DIRECTORY };

// All rights but reading and writing: some hosts ask for them, others do not.
static const __wasi_rights_t common = ((__wasi_rights_t)1 << 28) - 1 & ~__WASI_RIGHTS_FD_READ & ~__WASI_RIGHTS_FD_WRITE;
static const __wasi_rights_t reads = __WASI_RIGHTS_FD_READ;
static const __wasi_rights_t writes = __WASI_RIGHTS_FD_WRITE;


static int opened(const char *path, int oflags, __wasi_rights_t rights, int fdflags, __wasi_fd_t *fd) {
	return __wasi_path_open(root, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, oflags, rights | common, rights | common, fdflags, fd);
}

static int readable(const char *path, __wasi_fd_t *fd) { return opened(path, 0, reads, 0, fd); }
static int both(const char *path, int oflags, __wasi_fd_t *fd) { return opened(path, oflags, reads | writes, 0, fd); }

static int put(__wasi_fd_t fd, const char *text) {
	__wasi_ciovec_t v[2] = {{(const uint8_t *)text, 1}, {(const uint8_t *)text + 1, strlen(text) - 1}};
	__wasi_size_t n = 0;
	int e = __wasi_fd_write(fd, v, strlen(text) > 1 ? 2 : 1, &n);
	return e ? e : n == strlen(text) ? 0 : -1;
}

static char text[70000];

// get reads at the position, into text; it returns the length, or the errno below zero.
static int get(__wasi_fd_t fd, int most) {
	__wasi_iovec_t v[2] = {{(uint8_t *)text, most / 2}, {(uint8_t *)text + most / 2, most - most / 2}};
	__wasi_size_t n = 0;
	int e = __wasi_fd_read(fd, v, 2, &n);
	text[n] = 0;
	return e ? -e : (int)n;
}

static long long at(__wasi_fd_t fd, long long offset, int whence) {
	__wasi_filesize_t n = 0;
	int e = __wasi_fd_seek(fd, offset, whence, &n);
	return e ? -e : (long long)n;
}

static long long size(const char *path) {
	__wasi_filestat_t st;
	int e = __wasi_path_filestat_get(root, 0, path, &st);
	return e ? -e : (long long)st.size;
}

static int make(const char *path, const char *content) {
	__wasi_fd_t fd;
	int e = both(path, CREAT | TRUNC, &fd);
	if (!e) e = put(fd, content);
	return e ? e : __wasi_fd_close(fd);
}

static int rename_(const char *from, const char *to) { return __wasi_path_rename(root, from, root, to); }
static int mkdir_(const char *path) { return __wasi_path_create_directory(root, path); }
static int rmdir_(const char *path) { return __wasi_path_remove_directory(root, path); }
static int unlink_(const char *path) { return __wasi_path_unlink_file(root, path); }

static void opening(void) {
	__wasi_fd_t a, b;
	FAILS(NOENT, readable("o", &a));
	FAILS(NOENT, both("none/o", CREAT, &a));
	OK(both("o", CREAT | EXCL, &a));
	FAILS(EXIST, both("o", CREAT | EXCL, &b));
	OK(put(a, "some text"));
	OK(readable("o", &b));
	IS(9, get(b, 100));
	FAILS(BADF, put(b, "x"));
	OK(__wasi_fd_close(b));
	OK(opened("o", 0, writes, 0, &b));
	IS(-__WASI_ERRNO_BADF, get(b, 100));
	OK(__wasi_fd_close(b));
	FAILS(NOTDIR, opened("o", DIRECTORY, reads, 0, &b));
	FAILS(NOTDIR, readable("o/", &b));
	FAILS(NOTDIR, readable("o/p", &b));
	FAILS(NOTDIR, both("o/p", CREAT, &b));
	OK(both("o", TRUNC, &b));
	IS(0, size("o"));
	OK(__wasi_fd_close(b));
	OK(mkdir_("od"));
	FAILS(ISDIR, both("od", 0, &b));
	FAILS(ISDIR, both("od", CREAT, &b));
	FAILS(EXIST, both("od", CREAT | EXCL, &b));
	FAILS(ISDIR, both("od/new/", CREAT, &b));
	OK(opened("od", DIRECTORY, reads, 0, &b));
	IS(-__WASI_ERRNO_ISDIR, get(b, 100));
	OK(__wasi_fd_close(b));
	OK(opened("od/", DIRECTORY, reads, 0, &b));
	// A path below a directory that is not the root, and out of it.
	__wasi_fd_t c;
	OK(__wasi_path_open(b, 0, "in", CREAT, reads | writes, 0, 0, &c));
	OK(__wasi_fd_close(c));
	IS(0, size("od/in"));
	IS(0, size("od/./in"));
	IS(0, size("od/../od/in"));
	IS(1, __wasi_path_open(b, 0, "../o", 0, reads, 0, 0, &c) != 0);
	IS(1, __wasi_path_open(b, 0, "/o", 0, reads, 0, 0, &c) != 0);
	IS(1, readable("../../o", &c) != 0);
	IS(1, __wasi_path_open(root, 0, "", 0, reads, 0, 0, &c) != 0);
	FAILS(NOTDIR, __wasi_path_open(a, 0, "x", 0, reads, 0, 0, &c));
	FAILS(BADF, __wasi_path_open(99, 0, "x", 0, reads, 0, 0, &c));
	OK(__wasi_fd_close(b));
	OK(__wasi_fd_close(a));
	FAILS(BADF, __wasi_fd_close(a));
	OK(unlink_("od/in"));
	OK(rmdir_("od"));
	OK(unlink_("o"));
}

static void positions(void) {
	__wasi_fd_t a, b;
	__wasi_filesize_t n;
	__wasi_size_t k;
	OK(both("p", CREAT, &a));
	IS(0, at(a, 0, __WASI_WHENCE_CUR));
	OK(put(a, "0123456789"));
	OK(__wasi_fd_tell(a, &n));
	IS(10, n);
	IS(3, at(a, 3, __WASI_WHENCE_SET));
	IS(4, get(a, 4));
	IS(0, memcmp(text, "3456", 4));
	IS(6, at(a, -1, __WASI_WHENCE_CUR));
	IS(8, at(a, -2, __WASI_WHENCE_END));
	IS(-__WASI_ERRNO_INVAL, at(a, -11, __WASI_WHENCE_END));
	IS(-__WASI_ERRNO_INVAL, at(a, 0, 3));
	IS(8, at(a, 0, __WASI_WHENCE_CUR));
	IS(2, get(a, 100));
	IS(0, get(a, 100));
	// Beyond the end: reading gives nothing, writing leaves zeros.
	IS(40000, at(a, 40000, __WASI_WHENCE_SET));
	IS(0, get(a, 10));
	IS(10, size("p"));
	OK(put(a, "end"));
	IS(40003, size("p"));
	IS(9, at(a, 9, __WASI_WHENCE_SET));
	IS(39994, get(a, 60000));
	IS('9', text[0]);
	IS(0, text[1]);
	IS(0, text[39990]);
	IS('e', text[39991]);
	// Neither of these moves the position.
	__wasi_iovec_t in = {(uint8_t *)text, 3};
	__wasi_ciovec_t out = {(const uint8_t *)"ABC", 3};
	IS(2, at(a, 2, __WASI_WHENCE_SET));
	OK(__wasi_fd_pread(a, &in, 1, 5, &k));
	IS(3, k);
	IS(0, memcmp(text, "567", 3));
	OK(__wasi_fd_pwrite(a, &out, 1, 4, &k));
	IS(3, k);
	OK(__wasi_fd_pread(a, &in, 1, 100000, &k));
	IS(0, k);
	IS(6, get(a, 6));
	IS(0, memcmp(text, "23ABC7", 6));
	// Nothing is written.
	OK(__wasi_fd_write(a, &out, 0, &k));
	IS(0, k);
	// Another descriptor of the same file sees what is written, at its own position.
	OK(readable("p", &b));
	IS(3, get(b, 3));
	OK(__wasi_fd_pwrite(a, &out, 1, 3, &k));
	IS(3, get(b, 3));
	IS(0, memcmp(text, "ABC", 3));
	OK(__wasi_fd_close(b));
	OK(__wasi_fd_close(a));
	// Appending.
	OK(make("p", "one"));
	OK(opened("p", 0, reads | writes, __WASI_FDFLAGS_APPEND, &a));
	IS(0, at(a, 0, __WASI_WHENCE_SET));
	OK(put(a, "two"));
	IS(6, at(a, 0, __WASI_WHENCE_CUR));
	__wasi_fdstat_t st;
	OK(__wasi_fd_fdstat_get(a, &st));
	IS(__WASI_FDFLAGS_APPEND, st.fs_flags);
	IS(__WASI_FILETYPE_REGULAR_FILE, st.fs_filetype);
	OK(__wasi_fd_fdstat_set_flags(a, 0));
	IS(0, at(a, 0, __WASI_WHENCE_SET));
	OK(put(a, "ONE"));
	OK(__wasi_fd_fdstat_set_flags(a, __WASI_FDFLAGS_APPEND));
	OK(put(a, "3"));
	IS(0, at(a, 0, __WASI_WHENCE_SET));
	IS(7, get(a, 100));
	IS(0, strcmp(text, "ONEtwo3"));
	OK(__wasi_fd_close(a));
	IS(-__WASI_ERRNO_BADF, at(a, 0, __WASI_WHENCE_SET));
	IS(1, at(1, 0, __WASI_WHENCE_SET) < 0);
	OK(unlink_("p"));
}

static void sizes(void) {
	__wasi_fd_t a;
	__wasi_filestat_t st;
	OK(both("s", CREAT, &a));
	OK(put(a, "0123456789"));
	OK(__wasi_fd_filestat_set_size(a, 5));
	IS(5, size("s"));
	OK(__wasi_fd_filestat_set_size(a, 12));
	IS(0, at(a, 0, __WASI_WHENCE_SET));
	IS(12, get(a, 100));
	IS(0, memcmp(text, "01234\0\0\0\0\0\0\0", 12));
	OK(__wasi_fd_allocate(a, 10, 10));
	IS(20, size("s"));
	OK(__wasi_fd_allocate(a, 0, 3));
	IS(20, size("s"));
	OK(__wasi_fd_advise(a, 0, 10, __WASI_ADVICE_SEQUENTIAL));
	FAILS(INVAL, __wasi_fd_advise(a, 0, 10, 9));
	OK(__wasi_fd_sync(a));
	OK(__wasi_fd_datasync(a));
	OK(__wasi_fd_filestat_set_times(a, 1000000000, 2000000000, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
	OK(__wasi_fd_filestat_get(a, &st));
	IS(1000000000, st.atim);
	IS(2000000000, st.mtim);
	IS(20, st.size);
	IS(1, st.nlink);
	IS(__WASI_FILETYPE_REGULAR_FILE, st.filetype);
	__wasi_inode_t ino = st.ino;
	OK(__wasi_path_filestat_set_times(root, 0, "s", 0, 3000000000, __WASI_FSTFLAGS_MTIM));
	OK(__wasi_path_filestat_get(root, 0, "s", &st));
	IS(1000000000, st.atim);
	IS(3000000000, st.mtim);
	IS(ino, st.ino);
	OK(__wasi_fd_filestat_set_times(a, 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
	OK(__wasi_fd_filestat_get(a, &st));
	IS(1, st.mtim > 1000000000000000000);
	FAILS(INVAL, __wasi_fd_filestat_set_times(a, 0, 0, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW));
	FAILS(NOENT, __wasi_path_filestat_set_times(root, 0, "none", 0, 0, __WASI_FSTFLAGS_MTIM));
	OK(__wasi_fd_close(a));
	OK(readable("s", &a));
	IS(1, __wasi_fd_filestat_set_size(a, 0) != 0);
	IS(20, size("s"));
	OK(__wasi_fd_close(a));
	FAILS(NOENT, __wasi_path_filestat_get(root, 0, "none", &st));
	FAILS(NOTDIR, __wasi_path_filestat_get(root, 0, "s/", &st));
	FAILS(NOTDIR, __wasi_path_filestat_get(root, 0, "s/x", &st));
	OK(__wasi_path_filestat_get(root, 0, ".", &st));
	IS(__WASI_FILETYPE_DIRECTORY, st.filetype);
	OK(unlink_("s"));
}

static void names(void) {
	__wasi_fd_t a, b;
	OK(mkdir_("d"));
	FAILS(EXIST, mkdir_("d"));
	FAILS(EXIST, mkdir_("d/"));
	OK(mkdir_("d/e/"));
	FAILS(NOENT, mkdir_("x/y"));
	OK(make("f", "f"));
	FAILS(EXIST, mkdir_("f"));
	FAILS(NOTDIR, mkdir_("f/g"));
	FAILS(NOTDIR, rmdir_("f"));
	FAILS(NOTEMPTY, rmdir_("d"));
	FAILS(NOENT, rmdir_("x"));
	FAILS(ISDIR, unlink_("d"));
	FAILS(NOENT, unlink_("x"));
	FAILS(NOTDIR, unlink_("f/"));
	FAILS(NOTDIR, unlink_("f/x"));
	// Renaming.
	FAILS(NOENT, rename_("x", "y"));
	FAILS(NOENT, rename_("f", "x/y"));
	FAILS(ISDIR, rename_("f", "d"));
	FAILS(NOTDIR, rename_("d", "f"));
	FAILS(NOTDIR, rename_("f/", "g"));
	FAILS(INVAL, rename_("d", "d/e/d"));
	FAILS(NOTDIR, rename_("f", "f/g"));
	OK(rename_("f", "f"));
	OK(make("g", "gg"));
	OK(rename_("f", "g"));
	IS(1, size("g"));
	FAILS(NOENT, readable("f", &a));
	OK(mkdir_("h"));
	FAILS(NOTEMPTY, rename_("h", "d"));
	OK(make("d/e/in", "in"));
	OK(rename_("d/e", "h"));
	IS(2, size("h/in"));
	FAILS(NOENT, rmdir_("d/e"));
	OK(rename_("h/", "d/k"));
	IS(2, size("d/k/in"));
	OK(unlink_("d/k/in"));
	OK(rmdir_("d/k/"));
	// A file without a name lives until it is closed.
	OK(both("g", 0, &a));
	OK(unlink_("g"));
	FAILS(NOENT, readable("g", &b));
	OK(put(a, "still"));
	IS(0, at(a, 0, __WASI_WHENCE_SET));
	IS(5, get(a, 100));
	OK(make("g", "another"));
	IS(0, get(a, 100));
	OK(__wasi_fd_close(a));
	IS(7, size("g"));
	OK(unlink_("g"));
	// So does a directory; nothing is made in it.
	OK(opened("d", DIRECTORY, reads, 0, &a));
	OK(rmdir_("d"));
	FAILS(NOENT, __wasi_path_open(a, 0, "x", CREAT, reads | writes, 0, 0, &b));
	OK(__wasi_fd_close(a));
	// Links are not for sealed files.
	OK(make("l", "l"));
	__wasi_size_t n;
	FAILS(NOTSUP, __wasi_path_link(root, 0, "l", root, "m"));
	FAILS(NOTSUP, __wasi_path_symlink("l", root, "m"));
	FAILS(INVAL, __wasi_path_readlink(root, "l", (uint8_t *)text, 10, &n));
	FAILS(NOENT, __wasi_path_readlink(root, "m", (uint8_t *)text, 10, &n));
	OK(unlink_("l"));
	// Long names.
	memset(text, 'n', 300);
	text[300] = 0;
	FAILS(NAMETOOLONG, both(text, CREAT, &a));
	text[255] = 0;
	OK(both(text, CREAT, &a));
	OK(__wasi_fd_close(a));
	memset(text, 'n', 255);
	OK(unlink_(text));
}

// entries counts a directory's, with a buffer of so many bytes.
static int entries(__wasi_fd_t fd, int buffer, __wasi_dircookie_t from, unsigned *seen) {
	static uint8_t buf[4096];
	int count = 0;
	for (__wasi_dircookie_t cookie = from; count < 1000;) {
		__wasi_size_t used;
		int e = __wasi_fd_readdir(fd, buf, buffer, cookie, &used);
		if (e) return -e;
		__wasi_size_t off = 0;
		int whole = 0;
		while (off + sizeof(__wasi_dirent_t) <= used) {
			__wasi_dirent_t d;
			memcpy(&d, buf + off, sizeof d);
			const char *name = (const char *)buf + off + sizeof d;
			off += sizeof d + d.d_namlen;
			if (off > used) break;
			cookie = d.d_next;
			whole++;
			count++;
			if (d.d_namlen == 3 && name[0] == 'e') *seen |= 1u << ((name[1] - '0') * 5 + name[2] - '0');
			if (d.d_type != (name[0] == '.' ? __WASI_FILETYPE_DIRECTORY : __WASI_FILETYPE_REGULAR_FILE)) return -1000 - d.d_type;
		}
		if (used < (__wasi_size_t)buffer) return count;
		if (!whole) return -2000;
	}
	return -3000;
}

static void listing(void) {
	__wasi_fd_t d;
	unsigned seen = 0;
	__wasi_size_t used;
	uint8_t buf[100];
	OK(mkdir_("ls"));
	OK(opened("ls", DIRECTORY, reads, 0, &d));
	IS(2, entries(d, 4096, 0, &seen)); // . and ..
	char name[] = "ls/e00";
	for (int i = 0; i < 25; i++) {
		name[4] = '0' + i / 5;
		name[5] = '0' + i % 5;
		OK(make(name, "x"));
	}
	IS(27, entries(d, 4096, 0, &seen));
	IS((1u << 25) - 1, seen);
	seen = 0;
	IS(27, entries(d, 40, 0, &seen));
	IS((1u << 25) - 1, seen);
	seen = 0;
	IS(27, entries(d, 100, 0, &seen));
	IS((1u << 25) - 1, seen);
	// From the cookie of the first entry on.
	OK(__wasi_fd_readdir(d, buf, sizeof buf, 0, &used));
	IS(sizeof buf, used);
	__wasi_dirent_t first;
	memcpy(&first, buf, sizeof first);
	IS(26, entries(d, 4096, first.d_next, &seen));
	// What is gone is not listed anew.
	OK(unlink_("ls/e00"));
	seen = 0;
	IS(26, entries(d, 4096, 0, &seen));
	IS((1u << 25) - 2, seen);
	OK(__wasi_fd_close(d));
	FAILS(BADF, __wasi_fd_readdir(d, buf, sizeof buf, 0, &used));
	FAILS(BADF, __wasi_fd_readdir(1, buf, sizeof buf, 0, &used));
	for (int i = 1; i < 25; i++) {
		name[4] = '0' + i / 5;
		name[5] = '0' + i % 5;
		OK(unlink_(name));
	}
	OK(rmdir_("ls"));
}

static void descriptors(void) {
	__wasi_fd_t a, b;
	__wasi_prestat_t pre;
	__wasi_fdstat_t st;
	OK(__wasi_fd_prestat_get(root, &pre));
	IS(1, pre.u.dir.pr_name_len);
	OK(__wasi_fd_prestat_dir_name(root, (uint8_t *)text, 1));
	IS('/', text[0]);
	OK(__wasi_fd_fdstat_get(root, &st));
	IS(__WASI_FILETYPE_DIRECTORY, st.fs_filetype);
	FAILS(BADF, __wasi_fd_prestat_get(99, &pre));
	OK(make("r", "r"));
	OK(make("q", "q"));
	OK(readable("r", &a));
	OK(readable("q", &b));
	FAILS(BADF, __wasi_fd_prestat_get(a, &pre));
	OK(__wasi_fd_renumber(a, b));
	IS(1, get(b, 10));
	IS('r', text[0]);
	IS(-__WASI_ERRNO_BADF, get(a, 10));
	OK(__wasi_fd_close(b));
	FAILS(BADF, __wasi_fd_renumber(a, b));
	OK(unlink_("r"));
	OK(unlink_("q"));
	// The standard streams are no terminal.
	for (int fd = 0; fd < 3; fd++) {
		OK(__wasi_fd_fdstat_get(fd, &st));
		IS(1, st.fs_filetype != __WASI_FILETYPE_CHARACTER_DEVICE);
	}
	FAILS(BADF, __wasi_fd_fdstat_get(99, &st));
	FAILS(BADF, put(99, "x"));
	// There are no sockets.
	__wasi_size_t n;
	__wasi_roflags_t flags;
	__wasi_iovec_t in = {(uint8_t *)text, 3};
	__wasi_ciovec_t out = {(const uint8_t *)"ABC", 3};
	FAILS(BADF, __wasi_sock_recv(99, &in, 1, 0, &n, &flags));
	FAILS(BADF, __wasi_sock_send(99, &out, 1, 0, &n));
	FAILS(BADF, __wasi_sock_shutdown(99, __WASI_SDFLAGS_RD));
}

static void clocks(void) {
	__wasi_timestamp_t a, b;
	OK(__wasi_clock_res_get(__WASI_CLOCKID_REALTIME, &a));
	IS(1, a > 0);
	OK(__wasi_clock_res_get(__WASI_CLOCKID_MONOTONIC, &a));
	FAILS(INVAL, __wasi_clock_res_get(9, &a));
	OK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &a));
	IS(1, a > 1700000000000000000);
	FAILS(INVAL, __wasi_clock_time_get(9, 1, &a));
	OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &a));
	__wasi_subscription_t sub[2] = {
		{.userdata = 7, .u.tag = __WASI_EVENTTYPE_CLOCK, .u.u.clock = {__WASI_CLOCKID_MONOTONIC, 20000000, 0, 0}},
	};
	__wasi_event_t ev[2];
	__wasi_size_t n;
	OK(__wasi_poll_oneoff(sub, ev, 1, &n));
	IS(1, n);
	IS(7, ev[0].userdata);
	IS(0, ev[0].error);
	IS(__WASI_EVENTTYPE_CLOCK, ev[0].type);
	OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &b));
	IS(1, b - a >= 20000000);
	// At a time, here one that is over.
	sub[0].u.u.clock.timeout = a;
	sub[0].u.u.clock.flags = __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME;
	OK(__wasi_poll_oneoff(sub, ev, 1, &n));
	IS(0, ev[0].error);
	sub[0].u.u.clock.timeout = b + 20000000;
	OK(__wasi_poll_oneoff(sub, ev, 1, &n));
	OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &a));
	IS(1, a - b >= 20000000);
	sub[0].u.u.clock.id = __WASI_CLOCKID_REALTIME;
	OK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &a));
	sub[0].u.u.clock.timeout = a + 20000000;
	OK(__wasi_poll_oneoff(sub, ev, 1, &n));
	IS(0, ev[0].error);
	OK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &b));
	IS(1, b - a >= 20000000);
	// Files are always ready: no waiting for the clock.
	__wasi_fd_t fd;
	OK(make("c", "c"));
	OK(both("c", 0, &fd));
	sub[0].u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
	sub[0].u.u.clock.flags = 0;
	sub[0].u.u.clock.timeout = 5000000000;
	memset(&sub[1], 0, sizeof sub[1]);
	sub[1].userdata = 8;
	sub[1].u.tag = __WASI_EVENTTYPE_FD_READ;
	sub[1].u.u.fd_read.file_descriptor = fd;
	OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &a));
	OK(__wasi_poll_oneoff(sub, ev, 2, &n));
	OK(__wasi_clock_time_get(__WASI_CLOCKID_MONOTONIC, 1, &b));
	IS(1, n);
	IS(8, ev[0].userdata);
	IS(0, ev[0].error);
	IS(1, b - a < 2000000000);
	sub[1].u.tag = __WASI_EVENTTYPE_FD_WRITE;
	OK(__wasi_poll_oneoff(sub + 1, ev, 1, &n));
	IS(0, ev[0].error);
	sub[1].u.u.fd_write.file_descriptor = -1;
	OK(__wasi_poll_oneoff(sub + 1, ev, 1, &n));
	IS(__WASI_ERRNO_BADF, ev[0].error);
	OK(__wasi_fd_close(fd));
	OK(unlink_("c"));
	FAILS(INVAL, __wasi_poll_oneoff(sub, ev, 0, &n));
	OK(__wasi_sched_yield());
}

static void others(void) {
	__wasi_size_t n, bytes;
	OK(__wasi_args_sizes_get(&n, &bytes));
	IS(1, n);
	OK(__wasi_environ_sizes_get(&n, &bytes));
	IS(1, n > 5);
	static uint8_t big[1 << 20];
	OK(__wasi_random_get(big, sizeof big));
	int zeros = 0;
	for (size_t i = 0; i < sizeof big; i++) zeros += big[i] == 0;
	IS(1, zeros > 3000 && zeros < 5500);
	FAILS(FAULT, __wasi_random_get((uint8_t *)-16, 64));
	FAILS(FAULT, __wasi_fd_write(1, (__wasi_ciovec_t *)-8, 4, &n));
}

int main(void) {
	opening();
	positions();
	sizes();
	names();
	listing();
	descriptors();
	clocks();
	others();
	printf("asked %d, failed %d\n", asked, failed);
	return 0;
}
