SUMMARY = "Keeps a Kubernetes node working while its API server is out of reach"
DESCRIPTION = "The kubelet and other programs of a Kubernetes node talk to edge-hub as if it were the API server. \
               While the link is down it answers what they asked before."
HOMEPAGE = "https://github.com/edge-hub/edge-hub"
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"
CVE_PRODUCT = "edge-hub"

inherit cargo cargo-update-recipe-crates ptest-cargo systemd update-rc.d

# The repository in which this layer lies, at the revision that is checked out; or a mirror and a revision of your own:
#   EDGE_HUB_SRC = "git://HOST/edge-hub.git;protocol=https;branch=main"  and  SRCREV:pn-edge-hub = "..."
# AUTOREV is asked once for each run of bitbake: a commit in between does not change what is being built.
EDGE_HUB_REPOSITORY = "${@os.path.realpath(d.getVar('THISDIR') + '/../../../..')}"
EDGE_HUB_SRC ?= "git://${EDGE_HUB_REPOSITORY};protocol=file;nobranch=1;usehead=1"
SRC_URI = "${EDGE_HUB_SRC};destsuffix=${BP} \
           file://edge-hub.init \
           file://edge-hub.volatiles \
           "
SRCREV ?= "${AUTOREV}"
require edge-hub-crates.inc

# A layer without its repository, as an archive has it, is no reason for bitbake to stop.
python () {
    repository = d.getVar("EDGE_HUB_REPOSITORY")
    if "://%s;" % repository in d.getVar("EDGE_HUB_SRC") and not os.path.exists(repository + "/.git"):
        raise bb.parse.SkipRecipe("%s is no git checkout; name EDGE_HUB_SRC and SRCREV:pn-edge-hub" % repository)
}

# Where sources are unpacked differs from release to release; this finds them from scarthgap on.
EDGE_HUB_UNPACKED = "${@d.getVar('UNPACKDIR') or d.getVar('WORKDIR')}"
S = "${EDGE_HUB_UNPACKED}/${BP}"

# Which parts are built in is PACKAGECONFIG's alone.
CARGO_BUILD_FLAGS += "--no-default-features --bin edge-hub"
PACKAGECONFIG ??= "tls12 join check cache-cli setup"
PACKAGECONFIG[tls12] = "--features tls12"
PACKAGECONFIG[join] = "--features join"
PACKAGECONFIG[check] = "--features check"
PACKAGECONFIG[cache-cli] = "--features cache-cli"
PACKAGECONFIG[setup] = "--features setup"

# 64-bit time on 32-bit machines: without it the program ends in January 2038.
export RUST_LIBC_UNSTABLE_MUSL_V1_2_3 = "1"

# What is kept on flash. On a read-only root file system it must be on the data partition. The sample names it; where
# config.json names none it is /etc/kubernetes/cache, so the unit opens both.
EDGE_HUB_CACHE_DIR ?= "${localstatedir}/lib/edge-hub/cache"

SYSTEMD_SERVICE:${PN} = "edge-hub.service"
INITSCRIPT_NAME = "edge-hub"
INITSCRIPT_PARAMS = "defaults 80 20"

do_install:append() {
    install -d ${D}${sbindir} ${D}${systemd_system_unitdir} ${D}${sysconfdir}/edge-hub ${D}${sysconfdir}/init.d
    mv ${D}${bindir}/edge-hub ${D}${sbindir}/edge-hub
    rmdir --ignore-fail-on-non-empty ${D}${bindir}
    sed -e 's,/usr/bin/edge-hub,${sbindir}/edge-hub,' -e 's,^ReadWritePaths=.*,& -${EDGE_HUB_CACHE_DIR},' \
        -e 's,^ExecStartPre=.*/etc/kubernetes/cache$,& ${EDGE_HUB_CACHE_DIR},' \
        ${S}/cross/files/edge-hub.service > ${D}${systemd_system_unitdir}/edge-hub.service
    chmod 0644 ${D}${systemd_system_unitdir}/edge-hub.service
    sed -e 's,@SBINDIR@,${sbindir},' ${EDGE_HUB_UNPACKED}/edge-hub.init > ${D}${sysconfdir}/init.d/edge-hub
    chmod 0755 ${D}${sysconfdir}/init.d/edge-hub
    install -D -m 0644 ${EDGE_HUB_UNPACKED}/edge-hub.volatiles ${D}${sysconfdir}/default/volatiles/80_edge-hub
    sed -e '2i\  "cache_dir": "${EDGE_HUB_CACHE_DIR}",' \
        ${S}/cross/files/config.json > ${D}${sysconfdir}/edge-hub/config.json.sample
    chmod 0600 ${D}${sysconfdir}/edge-hub/config.json.sample
}

FILES:${PN} += "${systemd_system_unitdir}"
CONFFILES:${PN} += "${sysconfdir}/edge-hub/config.json.sample"
RRECOMMENDS:${PN} += "kernel-module-dummy"

BBCLASSEXTEND = "native"
