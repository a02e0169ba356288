#!/bin/sh
# Makes NAME-gcc and NAME-ar for the three musl targets from Debian's cross compilers and Debian's musl.
#
#   musl-gcc.sh ROOT OUT      ROOT: where Debian's packages are, "" for /     OUT: gets bin/ and lib/
#
# Debian's specs know static and dynamic programs; static-pie is added, which begins in start.c. lld links: Debian's GNU
# linkers pack no relocations for ARM, and fold nothing. libunwind.a is what std for musl asks for when it
# is built from source: gcc's own unwinder serves. The 64-bit ones ask glibc where a function lies; the answer "not known"
# makes them look by themselves.
set -eu
root=$1 out=$2
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$out/bin" "$out/lib"

program() { # file, program, its last words
  # What is not installed, as, ld and ar among it, does not find its libraries by itself.
  case $2 in "$root"/*) libraries=$root/usr/lib/x86_64-linux-gnu ;; *) libraries= ;; esac
  {
    echo '#!/bin/sh'
    [ -z "$root" ] || [ -z "$libraries" ] || echo "export LD_LIBRARY_PATH=$libraries"
    echo "exec $2 \"\$@\"${3:-}"
  } >"$1"
  chmod +x "$1"
}

wrap() { # musl's name, gcc's name
  musl=$1 lib=$root/usr/lib/$1 own=$out/lib/$1
  gcc=$(ls -d "$root/usr/bin/$2-gcc-"[0-9]* "/usr/bin/$2-gcc-"[0-9]* 2>/dev/null | head -n 1)
  ar=$(ls -d "$root/usr/bin/$2-ar" "/usr/bin/$2-ar" 2>/dev/null | head -n 1)
  mkdir -p "$own"
  sed -e "s#/usr/#$root/usr/#g" \
    -e 's#^-dynamic-linker \([^ ]*\)#%{static-pie:-static -pie --no-dynamic-linker -z text -e _start_packed;:-dynamic-linker \1}#' \
    -e "s#%{!shared:[^}]*}#%{static-pie:$own/start.o $lib/rcrt1.o;shared:;:$lib/Scrt1.o}#" \
    "$lib/musl-gcc.specs" >"$own/specs"
  program "$out/bin/$musl-gcc" "$gcc" " -specs $own/specs -L$own -B$out/lib"
  program "$out/bin/$musl-ar" "$ar"
  "$out/bin/$musl-gcc" -Os -fPIC -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables \
    -c "$here/start.c" -o "$own/start.o"
  cp "$("$gcc" -print-file-name=libgcc_eh.a)" "$own/libunwind.a"
  if [ "$musl" = arm-linux-musleabihf ]; then
    # Without what musl has for programs with 32 bits for the time: whose std was built for that does not link, instead
    # of ending in January 2038.
    cp "$lib/libc.a" "$own/libc.a"
    "$out/bin/$musl-ar" t "$own/libc.a" | grep -E '32(_r)?\.lo$|time32' | xargs "$out/bin/$musl-ar" d "$own/libc.a"
    return
  fi
  echo 'int _dl_find_object(void *at, void *found) { (void)at; (void)found; return -1; }' |
    "$out/bin/$musl-gcc" -Os -fPIC -x c -c - -o "$own/find.o"
  "$out/bin/$musl-ar" r "$own/libunwind.a" "$own/find.o" 2>/dev/null
  rm "$own/find.o"
}

program "$out/lib/ld.lld" "$(ls -d "$root"/usr/lib/llvm-*/bin/ld.lld | tail -n 1)"
wrap arm-linux-musleabihf arm-linux-gnueabihf
wrap aarch64-linux-musl aarch64-linux-gnu
wrap x86_64-linux-musl x86_64-linux-gnu
