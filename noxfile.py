"""What can be run here: `nox -l` lists it, arguments after `--` go to what a session runs."""

import re

import nox

nox.options.sessions = ["conformance"]
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True

CONSTRAINTS = ("-c", "constraints.txt")
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # processes share the processors; threads would fight
NO_AMX = ONE_THREAD | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}  # whose products leak NaN: reports/README.md

BACKENDS = {  # each with the extra that installs its library, if one is needed
    "equinox": "equinox",
    "flax": "flax",
    "flax-nnx": "flax",
    "haiku": "haiku",
    "keras-jax": "keras-jax",
    "keras-tensorflow": "keras-tensorflow",
    "keras-torch": "keras-torch",
    "mlx": "mlx",
    "ncnn": "ncnn",
    "numpy": "",
    "onnx-reference": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxruntime-torch-export": "onnxruntime-torch-export",
    "opencv": "opencv",
    "openvino": "openvino",
    "paddle": "paddle",
    "paddle-cell": "paddle",
    "tract": "tract",
    "tflite": "tflite",
    "tinygrad": "tinygrad",
    "torch": "torch",
    "torch-cell": "torch",
    "torch-compile": "torch",
    "torch-compile-aot": "torch",
    "torch-export": "torch",
    "torch-functional": "torch",
    "torch-quantized": "torch",
    "torch-quantized-float16": "torch",
    "torch-script": "torch",
}

SHAPED = {"flax", "flax-nnx", "haiku", "keras-jax", "keras-tensorflow", "keras-torch", "mlx", "tflite", "tinygrad"}
SHAPED |= {"torch-compile", "torch-compile-aot", "torch-export"}  # they compile for each shape: ci is a matter of hours

SLOW = {  # a call or layer of these takes seconds, and two checks make a thousand of each; many steps take minutes
    "keras-jax": ("-k", "not leaks and not drops and not accumulate"),  # that one JAX lacks
    "tflite": ("-k", "not drops"),
    "tinygrad": ("-k", "not gradients.long"),
    "torch-compile": ("-k", "float32 and not long", "--call-timeout", "600"),
    "torch-export": ("-k", "not gradients.long"),
    "torch-compile-aot": ("-k", "not gradients.long", "--call-timeout", "600"),
}

NUMPY_1 = re.compile(r"onnxruntime==1\.(\d|1[0-8])\..*")  # NumPy 2 breaks these and their metadata do not say so


def install(session: nox.Session, *groups: str) -> None:
    """Install the suite with torch, and what these dependency groups name."""
    names = [name for group in groups for name in nox.project.dependency_groups(nox.project.load_toml(), group)]
    session.install(*CONSTRAINTS, ".[torch]", *names)


@nox.session
def conformance(session: nox.Session) -> None:
    """Say whether a backend is right: PyTorch on the CPU, or what the arguments name."""
    install(session)
    session.run("rnn-conformance", "run", *session.posargs, env=ONE_THREAD)


@nox.session
def tests(session: nox.Session) -> None:
    """Test the oracle, the suite and the report; show coverage."""
    install(session, "tests")
    session.run("pytest", "-n", "auto", "--cov", "--cov-report=term:skip-covered", *session.posargs, env=NO_AMX)


@nox.session
def lint(session: nox.Session) -> None:
    """Look for mistakes of style and form."""
    install_only(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    install(session, "types")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the oracle against torch, the budget against the oracle, and the suite's pace."""
    install(session, "bench")
    options = ("-o", "python_files=bench_*.py", "--benchmark-only", "-p", "no:xdist", "-s")
    session.run("pytest", "tests/bench", *options, *session.posargs, env=ONE_THREAD)


@nox.session
def calibrate(session: nox.Session) -> None:
    """Measure the largest ρ of correct kernels and draw docs/numerics.md's figures again."""
    install(session, "calibrate")
    session.run("python", "-m", "tests.calibrate", *session.posargs, env=NO_AMX)


@nox.session
def hostile(session: nox.Session) -> None:
    """Try backends that crash, hang, leak and lie, runs that are cut short, and files that nobody would write."""
    install(session, "tests")
    session.run("pytest", "tests/hostile", "-n", "auto", *session.posargs, env=NO_AMX)
    session.run("python", "-m", "tests.hostile.fuzz", env=NO_AMX)


@nox.session
def faults(session: nox.Session) -> None:
    """Run the suite against every faulty and every correct module of the zoo; write reports/faults."""
    install(session)
    session.run("python", "-m", "tests.faults", *session.posargs, env=ONE_THREAD)


def install_only(session: nox.Session, group: str) -> None:
    """Install what a dependency group names, without the suite."""
    session.install(*CONSTRAINTS, *nox.project.dependency_groups(nox.project.load_toml(), group))


def conformance_of(backend: str, extra: str) -> None:
    """A session of its own for a backend, with its library; `--with NAME==VERSION` asks for another release of it."""

    @nox.session(name=f"conformance-{backend}")
    def session(session: nox.Session) -> None:
        arguments, other = list(session.posargs), []
        while "--with" in arguments:
            at = arguments.index("--with")
            other.append(arguments[at + 1])
            del arguments[at : at + 2]
        other += ["numpy<2"] * any(map(NUMPY_1.fullmatch, other))
        session.install(*(() if other else CONSTRAINTS), f".[{extra}]" if extra else ".", *other)
        session.run("rnn-conformance", "run", "--backend", backend, *arguments, env=ONE_THREAD)


for _backend, _extra in BACKENDS.items():
    conformance_of(_backend, _extra)


@nox.session
def published(session: nox.Session) -> None:
    """Draw reports/index.html and README's table of verdicts from the records in reports/."""
    install(session)
    session.run("python", "-m", "tests.report.published")


@nox.session(venv_backend="none")
def gallery(session: nox.Session) -> None:
    """Make every record and report again, and the matrix of all, going on past a backend that cannot be installed.

    What compiles for each shape is tried with the profile smoke, and what takes longest in part.
    """
    for backend in BACKENDS:
        profile = ("--profile", "smoke") if backend in SHAPED else ()
        session.notify(f"conformance-{backend}", (*profile, *SLOW.get(backend, ()), *session.posargs))
    session.notify("published", ())
