// Where a program of `cross/build` begins. Its linker packs the places that hold an address into a bitmap (DT_RELR),
// a thirtieth of what a list of them takes. musl reads such bitmaps from 1.2.4 on, and Debian's is 1.2.3: so they are
// unpacked here, before musl begins, and a newer one is told that there are none.
typedef unsigned long word;
#define HIDDEN __attribute__((visibility("hidden")))
enum { DT_NULL = 0, DT_RELRSZ = 35, DT_RELR = 36 };

extern HIDDEN word _DYNAMIC[];
extern HIDDEN char __ehdr_start[]; // linked at 0, so this is by how much everything moved

HIDDEN void unpack_relative_relocations(void) {
  word base = (word)__ehdr_start, size = 0, *entry = 0, *place = 0;
  for (word *tag = _DYNAMIC; tag[0] != DT_NULL; tag += 2) {
    if (tag[0] == DT_RELR) entry = (word *)(base + tag[1]);
    if (tag[0] == DT_RELRSZ) {
      size = tag[1];
      tag[1] = 0;
    }
  }
  for (word *end = entry + size / sizeof(word); entry != end; entry++) {
    if ((*entry & 1) == 0) { // an address; the next begins after it
      place = (word *)(base + *entry);
      *place++ += base;
    } else { // a bit for each of the words that follow
      word *at = place;
      for (word bits = *entry >> 1; bits; bits >>= 1, at++)
        if (bits & 1) *at += base;
      place += 8 * sizeof(word) - 1;
    }
  }
}

// The stack is as the kernel left it; nothing in a register is wanted by a program without an interpreter.
__asm__(".text\n.globl _start_packed\n.hidden _start_packed\n.type _start_packed, %function\n"
#if defined(__x86_64__)
        "_start_packed: call unpack_relative_relocations\njmp _start\n"
#elif defined(__aarch64__)
        "_start_packed: bl unpack_relative_relocations\nb _start\n"
#elif defined(__thumb__)
        ".thumb_func\n_start_packed: bl unpack_relative_relocations\nb.w _start\n"
#else
        "_start_packed: bl unpack_relative_relocations\nb _start\n"
#endif
);
